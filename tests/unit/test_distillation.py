"""How teachers combine, how the weight rises, and balanced softmax."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgekd.config import DistillConfig
from edgekd.losses.combinations import combine
from edgekd.losses.distillation import distil, distil_heads, label_loss, log_prior, warm_up, weigh_labels
from edgekd.losses.measures import MEASURES, dissimilarity

COMBINATIONS = ("sum", "average", "geometric", "confident")
seeds = st.integers(0, 2**32)


def plainly(**changes: Any) -> DistillConfig:
    """Settings without temperature and weights, so that a test does not depend on the defaults."""
    return DistillConfig(**{"temperature": 1.0, "combine": "average", "kd_weight": 1.0, "kd_warmup": 0, **changes})


def draw(seed: int, teachers: int, scale: float = 3.0) -> tuple[list[Tensor], Tensor]:
    """Teachers' probabilities and the student's logits, float64 [4, 6]."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(teachers + 1, 4, 6, generator=generator, dtype=torch.float64)
    return [F.softmax(x, dim=-1) for x in logits[1:]], logits[0].requires_grad_()


def gradient(teachers: list[Tensor], z: Tensor, config: DistillConfig) -> Tensor:
    return torch.autograd.grad(distil(teachers, z, config), z)[0]


@pytest.mark.parametrize("measure", MEASURES)
def test_one_teacher_gives_the_same_loss_in_every_combination(measure: str) -> None:
    teachers, z = draw(1, 1)
    losses = [distil(teachers, z, plainly(measure=measure, combine=how)) for how in COMBINATIONS]
    for other in losses[1:]:
        torch.testing.assert_close(other, losses[0], rtol=1e-12, atol=0)


@given(seeds, st.integers(1, 5), st.sampled_from(["ce", "kl"]), st.floats(0.2, 5))
@settings(deadline=None)
def test_for_ce_and_kl_the_gradient_of_the_sum_is_the_averages_times_the_number_of_teachers(
    seed: int, count: int, measure: str, temperature: float
) -> None:
    teachers, z = draw(seed, count)
    total, average = (
        gradient(teachers, z, plainly(measure=measure, combine=how, temperature=temperature))
        for how in ("sum", "average")
    )
    torch.testing.assert_close(total, count * average, rtol=1e-9, atol=1e-14)


@given(seeds, st.integers(1, 5))
@settings(deadline=None)
def test_geometric_equals_the_softmax_of_the_averaged_logits(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, 4, 6, generator=generator, dtype=torch.float64)
    z = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    expected = dissimilarity("js", F.softmax(logits.mean(dim=0), dim=-1), z).mean()
    config = plainly(measure="js", combine="geometric", kd_scale="raw")
    torch.testing.assert_close(distil(list(F.softmax(logits, dim=-1)), z, config), expected, rtol=1e-10, atol=0)


@given(seeds, st.permutations(range(4)), st.sampled_from(COMBINATIONS), st.sampled_from(list(MEASURES)))
@settings(deadline=None)
def test_the_order_of_teachers_does_not_matter(seed: int, order: list[int], how: str, measure: str) -> None:
    teachers, z = draw(seed, 4)
    config = plainly(measure=measure, combine=how)
    shuffled = [teachers[i] for i in order]
    torch.testing.assert_close(distil(shuffled, z, config), distil(teachers, z, config), rtol=1e-10, atol=0)


@pytest.mark.parametrize("how", COMBINATIONS)
@pytest.mark.parametrize("measure", MEASURES)
def test_disjoint_supports_give_finite_loss_and_gradient(measure: str, how: str) -> None:
    teachers = [torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])]
    z = torch.tensor([[0.0, -200.0, 1e4]], requires_grad=True)
    loss = distil(teachers, z, plainly(measure=measure, combine=how))
    assert loss.isfinite()
    assert torch.autograd.grad(loss, z)[0].isfinite().all()


def test_geometric_mean_of_disjoint_teachers_is_even_among_what_either_holds() -> None:
    teachers = [torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])]
    z = torch.tensor([[0.5, 0.5, 1e-30]]).log()
    config = plainly(measure="js", combine="geometric")
    assert distil(teachers, z, config).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
def test_loss_is_the_mean_of_the_measure_over_the_batch_times_its_matched_scale(measure: str) -> None:
    teachers, z = draw(2, 2)
    scale = {"ce": 1, "kl": 1, "td": 2, "js": 4, "sed": 4, "mse": 1}[measure]
    expected = dissimilarity(measure, (teachers[0] + teachers[1]) / 2, z, 2.0).mean()
    raw = plainly(measure=measure, combine="average", temperature=2.0, kd_scale="raw")
    torch.testing.assert_close(distil(teachers, z, raw), expected)
    matched = plainly(measure=measure, combine="average", temperature=2.0, kd_scale="matched")
    torch.testing.assert_close(distil(teachers, z, matched), scale * expected)


def test_reduction_sum_is_the_mean_times_the_batch_size() -> None:
    teachers, z = draw(3, 2)
    mean, total = (distil(teachers, z, plainly(kd_reduction=r)) for r in ("mean", "sum"))
    torch.testing.assert_close(total, 4 * mean)


def test_temperature_scaling_multiplies_by_the_square_of_the_temperature() -> None:
    teachers, z = draw(4, 2)
    plain, scaled = (distil(teachers, z, plainly(temperature=3.0, temperature_scaling=on)) for on in (False, True))
    torch.testing.assert_close(scaled, 9 * plain)


def test_no_teacher_or_one_of_another_shape_is_refused() -> None:
    teachers, z = draw(5, 2)
    with pytest.raises(ValueError, match="teachers must be one or more"):
        distil([], z, plainly())
    with pytest.raises(ValueError, match=r"\[4, 6\], got \[\[4, 6\], \[4, 5\]\]"):
        distil([teachers[0], teachers[1][:, :5]], z, plainly())


def test_weight_rises_from_zero_over_the_warm_up_and_stays() -> None:
    config = plainly(kd_warmup=4)
    assert [warm_up(config, step) for step in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


def test_without_warm_up_the_weight_is_whole_from_the_first_step() -> None:
    assert warm_up(plainly(kd_warmup=0), 0) == 1.0


def test_prior_is_the_class_frequencies_with_one_more_of_each() -> None:
    prior = log_prior(torch.tensor([0, 0, 0, 2]), 3)
    torch.testing.assert_close(prior, torch.tensor([4 / 7, 1 / 7, 2 / 7]).log())


@given(st.lists(st.integers(0, 9), max_size=50))
@settings(deadline=None)
def test_prior_is_a_finite_distribution_for_any_shard(labels: list[int]) -> None:
    prior = log_prior(torch.tensor(labels, dtype=torch.int64), 10)
    assert prior.shape == (10,)
    assert prior.dtype == torch.float32
    assert prior.isfinite().all()
    assert prior.exp().sum().item() == pytest.approx(1, abs=1e-6)


def test_label_outside_the_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"labels must be in \[0, 3\), got 3"):
        log_prior(torch.tensor([0, 3]), 3)


def test_label_loss_without_prior_or_with_an_even_one_is_cross_entropy() -> None:
    z, labels = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 0.0]]), torch.tensor([0, 2])
    expected = F.cross_entropy(z, labels)
    torch.testing.assert_close(label_loss(z, labels, None), expected)
    torch.testing.assert_close(label_loss(z, labels, log_prior(torch.tensor([0, 1, 2]), 3)), expected)


def test_balanced_loss_leaves_even_logits_alone_on_a_skewed_shard() -> None:
    """Even logits say that the pictures tell nothing: with the shard's own prior added, no class pulls."""
    labels = torch.tensor([0] * 89 + [1] * 9)
    prior = torch.tensor([89 / 98, 9 / 98]).log()
    z = torch.zeros(98, 2, requires_grad=True)
    balanced = torch.autograd.grad(label_loss(z, labels, prior), z)[0].sum(dim=0)
    plain = torch.autograd.grad(label_loss(z, labels, None), z)[0].sum(dim=0)
    assert balanced.abs().max().item() < 1e-6
    assert plain[0].item() == pytest.approx(0.5 - 89 / 98, abs=1e-6)


def test_balanced_loss_is_cross_entropy_of_logits_plus_log_prior() -> None:
    z, labels = torch.tensor([[0.0, 0.0]]), torch.tensor([1])
    prior = torch.tensor([0.9, 0.1]).log()
    assert label_loss(z, labels, prior).item() == pytest.approx(-math.log(0.1), rel=1e-6)


@given(seeds, st.integers(1, 5), st.sampled_from([*COMBINATIONS]), st.floats(0.25, 4))
@settings(deadline=None)
def test_targets_are_probabilities_and_the_order_of_teachers_is_theirs(
    seed: int, count: int, how: str, sharpen: float
) -> None:
    teachers = torch.stack(draw(seed, count)[0])
    targets = combine(how, teachers, sharpen)
    torch.testing.assert_close(targets.sum(-1), torch.ones_like(targets[..., 0]))
    again = combine(how, teachers.flip(0), sharpen)
    torch.testing.assert_close(again.flip(0) if how == "sum" else again, targets)


def test_confident_follows_the_surest_teacher_of_each_sample() -> None:
    sure, unsure = [0.9, 0.1], [0.4, 0.6]
    teachers = torch.tensor([[sure, unsure, unsure], [unsure, sure, [0.6, 0.4]]])
    assert combine("confident", teachers).squeeze(0).tolist() == torch.tensor([sure, sure, unsure]).tolist()


@given(seeds, st.floats(0.25, 4))
@settings(deadline=None)
def test_sharpening_raises_to_a_power_and_renormalises(seed: int, power: float) -> None:
    (q,), _ = draw(seed, 1)
    expected = q**power / (q**power).sum(-1, keepdim=True)
    torch.testing.assert_close(combine("average", q[None], power)[0], expected)


def test_nway_goes_through_the_same_scale_temperature_and_reduction() -> None:
    teachers, z = draw(5, 2)
    raw = distil(teachers, z, plainly(measure="js", combine="nway", kd_scale="raw"))
    matched = distil(teachers, z, plainly(measure="js", combine="nway", kd_scale="matched", kd_reduction="sum"))
    torch.testing.assert_close(matched, raw * 9 / 2 * len(z))
    soft = distil(teachers, 3 * z, plainly(measure="js", combine="nway", kd_scale="raw", temperature=3.0))
    torch.testing.assert_close(soft, raw)


def test_head_learns_from_the_one_before_it_of_the_others_and_one_head_from_its_like() -> None:
    teachers, z = draw(7, 2)
    config = plainly()
    torch.testing.assert_close(distil_heads([q[None] for q in teachers], z[None], config), distil(teachers, z, config))
    chains = [torch.stack([q, q.flip(0), q.flip(-1)]) for q in teachers]  # three heads each
    students = torch.stack([z, z.flip(-1), z.flip(0)])
    expected = distil(teachers, students[1], config) + distil([q.flip(0) for q in teachers], students[2], config)
    torch.testing.assert_close(distil_heads(chains, students, config), expected)


@pytest.mark.parametrize(
    ("count", "alpha", "taught", "two_phase", "expected"),
    [
        (1, 0.25, True, False, 0.25 * 1),
        (1, 0.25, False, False, 1),
        (2, 0.25, True, False, 1 + 0.25 * 10),
        (2, 0.25, False, False, 1),
        (2, 0.0, True, False, 1),
        (3, 0.5, True, False, 1 + 0.5 * (10 + 100)),
        (1, 0.25, True, True, 0.25),
        (2, 0.25, True, True, 0.25 * 10),
        (2, 0.25, False, True, 1),
        (1, 0.0, True, True, None),
        (2, 0.0, True, True, None),
    ],
)
def test_labels_weigh_one_on_the_first_head_and_alpha_on_those_that_are_taught(
    count: int, alpha: float, taught: bool, two_phase: bool, expected: float | None
) -> None:
    losses = [torch.tensor(10.0**head) for head in range(count)]
    got = weigh_labels(losses, alpha, taught=taught, two_phase=two_phase)
    assert (None if got is None else float(got)) == expected
