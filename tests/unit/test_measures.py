"""The measures against 60-digit reference values, their laws, and inputs at the ends of what floats hold."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgekd.errors import ConfigError
from edgekd.losses.measures import (
    MEASURES,
    SECOND_ORDER,
    dissimilarity,
    nway_dissimilarity,
    second_order,
)
from edgekd.names import NWAY_MEASURES

CASES = json.loads((Path(__file__).parents[1] / "data" / "reference_values.json").read_text(encoding="utf-8"))
RELATIVE = {torch.float32: 1e-4, torch.float64: 1e-10}
BIG = 3e38


def value_and_gradient(measure: str, q: Tensor, z: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    z = z.clone().requires_grad_()
    value = dissimilarity(measure, q, z, temperature)
    return value.detach(), torch.autograd.grad(value.sum(), z)[0]


def rounding(value: float) -> float:
    """What float64 rounding of p and q does to a value near p = q: eps times the gradient, which goes as the root."""
    return 1e-15 * math.sqrt(value) + 1e-28


def reference(case: dict[str, Any], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    q = torch.tensor([[float(x) for x in case["teacher_probs"]]], dtype=dtype)
    return q, torch.tensor([case["student_logits"]], dtype=dtype)


@pytest.mark.parametrize("dtype", RELATIVE, ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["label"])
@pytest.mark.parametrize("measure", MEASURES)
def test_value_and_gradient_equal_the_reference(measure: str, case: dict[str, Any], dtype: torch.dtype) -> None:
    value, gradient = value_and_gradient(measure, *reference(case, dtype), case["temperature"])
    # Next to p = q the inputs' own rounding moves a gradient by eps, and a value by eps times the gradient.
    close = case["label"] in ("equal", "almost equal")
    noise = torch.finfo(dtype).eps if close else 1e-35
    expected = float(case["value"][measure])
    of_value = 1e-35 if not close or measure == "ce" else noise * max(noise, 1e-7)
    torch.testing.assert_close(value.double()[0].item(), expected, rtol=RELATIVE[dtype], atol=of_value)
    if "gradient" in case:
        by_z = torch.tensor([float(x) for x in case["gradient"][measure]], dtype=torch.float64)
        torch.testing.assert_close(gradient.double()[0], by_z, rtol=RELATIVE[dtype], atol=noise)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """q, z of one row in float64: any scale, ties, teachers with exact zeros."""
    classes = draw(st.integers(2, 12))
    logit = st.one_of(st.sampled_from([0.0, 1.0, -1.0]), st.floats(-5, 5), st.floats(-300, 300))
    row = st.lists(logit, min_size=classes, max_size=classes)
    q = F.softmax(torch.tensor([draw(row)], dtype=torch.float64), dim=-1)
    dropped = torch.tensor([draw(st.lists(st.booleans(), min_size=classes, max_size=classes))])
    assume(not dropped.all())
    q = q.masked_fill(dropped, 0)
    assume(q.sum() > 1e-12)
    return q / q.sum(), torch.tensor([draw(row)], dtype=torch.float64)


@given(pairs())
@settings(deadline=None)
def test_bounded_measures_are_ordered_half_td_js_sed_js_over_ln_2_td(pair: tuple[Tensor, Tensor]) -> None:
    js, td, sed = (dissimilarity(m, *pair).item() for m in ("js", "td", "sed"))
    chain = [0.0, td / 2, js, sed, js / math.log(2), td, 1.0]
    assert all(low <= high * (1 + 1e-12) + rounding(high) for low, high in pairwise(chain)), chain


@given(pairs())
@settings(deadline=None)
def test_sed_equals_expm1_of_js(pair: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(dissimilarity("sed", *pair), torch.expm1(dissimilarity("js", *pair)), rtol=1e-14, atol=0)


@given(pairs())
@settings(deadline=None)
def test_js_td_sed_and_mse_are_symmetric(pair: tuple[Tensor, Tensor]) -> None:
    q, z = pair
    assume(bool((q > 1e-300).all()))
    p = F.softmax(z, dim=-1)
    for measure in ("js", "td", "sed", "mse"):
        there, back = dissimilarity(measure, q, z), dissimilarity(measure, p, q.log())
        torch.testing.assert_close(there, back, rtol=1e-9, atol=rounding(back.item()))


@given(pairs())
@settings(deadline=None)
def test_kl_is_ce_less_the_teachers_entropy_and_both_are_bounded_below(pair: tuple[Tensor, Tensor]) -> None:
    q, _ = pair
    entropy = -torch.xlogy(q, q).sum(-1)
    ce, kl = dissimilarity("ce", *pair), dissimilarity("kl", *pair)
    assert kl.item() >= 0
    torch.testing.assert_close(ce, kl + entropy, rtol=1e-12, atol=1e-14)


@given(pairs(), st.floats(0.1, 10))
@settings(deadline=None)
def test_ce_and_kl_have_the_same_gradient_p_minus_q_over_t(pair: tuple[Tensor, Tensor], temperature: float) -> None:
    q, z = pair
    ce, kl = (value_and_gradient(m, q, z, temperature)[1] for m in ("ce", "kl"))
    assert torch.equal(ce, kl)
    torch.testing.assert_close(ce, (F.softmax(z / temperature, dim=-1) - q) / temperature, rtol=1e-9, atol=1e-15)


@given(pairs())
@settings(deadline=None)
def test_every_measure_but_ce_is_zero_with_zero_gradient_where_the_student_equals_the_teacher(
    pair: tuple[Tensor, Tensor],
) -> None:
    z = pair[1]
    for measure in set(MEASURES) - {"ce"}:
        value, gradient = value_and_gradient(measure, F.softmax(z, dim=-1), z)
        assert 0 <= value.item() <= 1e-26
        assert gradient.abs().max().item() <= 1e-15


@given(pairs())
@settings(deadline=None)
def test_gradients_of_a_row_sum_to_zero(pair: tuple[Tensor, Tensor]) -> None:
    for measure in MEASURES:
        assert abs(value_and_gradient(measure, *pair)[1].sum().item()) <= 1e-14


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("measure", MEASURES)
def test_gradient_is_that_of_the_value(measure: str, temperature: float) -> None:
    draw = torch.Generator().manual_seed(5)
    q = F.softmax(2 * torch.randn(6, 5, generator=draw, dtype=torch.float64), dim=-1)
    q[0] = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])
    z = (2 * torch.randn(6, 5, generator=draw, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: dissimilarity(measure, q, z, temperature), (z,))


LOGITS = {
    "apart by more than the largest float": [BIG, -BIG, 0.0],
    "all at the upper end": [BIG, BIG, BIG],
    "all at the lower end": [-BIG, -BIG, -BIG],
    "one far above a tie": [-BIG, 0.0, -BIG],
    "gap of 10,000": [1e4, 0.0, -1e4],
    "gap of 120": [0.0, 120.0, 0.0],
    "tie": [0.0, 0.0, 0.0],
    "denormal probability": [0.0, -100.0, -103.0],
}
TEACHERS = {
    "sure of 0": [1.0, 0.0, 0.0],
    "sure of 1": [0.0, 1.0, 0.0],
    "one zero": [0.0, 0.25, 0.75],
    "even": [1 / 3] * 3,
}


@pytest.mark.parametrize("temperature", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("q", TEACHERS.values(), ids=TEACHERS)
@pytest.mark.parametrize("z", LOGITS.values(), ids=LOGITS)
@pytest.mark.parametrize("measure", MEASURES)
def test_value_and_gradient_are_finite(measure: str, z: list[float], q: list[float], temperature: float) -> None:
    value, gradient = value_and_gradient(measure, torch.tensor([q]), torch.tensor([z]), temperature)
    assert math.isfinite(value.item())
    assert value.item() >= 0
    assert gradient.isfinite().all()
    if measure in ("js", "td", "sed"):
        assert value.item() <= 1 + 1e-6


logits32 = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=4, max_size=4)


@given(logits32, st.lists(st.sampled_from([0.0, 1e-45, 1e-38, 1e-7, 0.5, 1.0]), min_size=3, max_size=3))
@settings(deadline=None)
def test_any_float32_logits_give_finite_values_and_gradients(z: list[float], weights: list[float]) -> None:
    q = torch.tensor([[1.0, *weights]])
    q /= q.sum()
    for measure in MEASURES:
        value, gradient = value_and_gradient(measure, q, torch.tensor([z]))
        assert value.isfinite().all(), measure
        assert gradient.isfinite().all(), measure


@pytest.mark.parametrize(
    ("z", "expected"),
    [([BIG, -BIG], 0.0), ([0.0, 1e4], 1e4), ([-1e30, 1e30], 2e30), ([0.0, 80.0], 80.0), ([0.0, 95.0], 95.0)],
)
def test_ce_and_kl_from_a_sure_teacher_are_the_logit_gap_in_float32(z: list[float], expected: float) -> None:
    for measure in ("ce", "kl"):
        value = dissimilarity(measure, torch.tensor([[1.0, 0.0]]), torch.tensor([z]))
        assert value.item() == pytest.approx(expected, rel=1e-6, abs=1e-30)


@pytest.mark.parametrize("step", [1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("measure", MEASURES)
def test_float32_keeps_its_digits_next_to_the_teacher(measure: str, step: float) -> None:
    draw = torch.Generator().manual_seed(3)
    z = torch.randn(64, 10, generator=draw)
    q = F.softmax(z.double() + step * torch.randn(64, 10, generator=draw), dim=-1).float()
    exact = dissimilarity(measure, q.double() / q.double().sum(-1, keepdim=True), z.double())
    # What rounding q and p alone does is of the order eps / step; textbook forms lose eps / step^2.
    torch.testing.assert_close(dissimilarity(measure, q, z).double(), exact, rtol=1e-6 / step, atol=0)


@pytest.mark.parametrize("measure", sorted(set(MEASURES) - {"mse"}))
def test_matched_scale_agrees_with_kl_to_second_order(measure: str) -> None:
    draw = torch.Generator().manual_seed(7)
    q = F.softmax(torch.randn(1, 10, generator=draw, dtype=torch.float64), dim=-1)
    direction = torch.randn(1, 10, generator=draw, dtype=torch.float64)
    gaps = []
    for step in (1e-2, 1e-3):
        z = q.log() + step * direction
        kl = value_and_gradient("kl", q, z)[1]
        other = SECOND_ORDER.get(measure, 1.0) * value_and_gradient(measure, q, z)[1]
        gaps.append(((other - kl).norm() / kl.norm()).item())
    assert gaps[0] < 2e-2
    assert gaps[1] <= 0.11 * gaps[0]  # the gradients differ in second order only, so their ratio falls with the step


def test_a_sure_student_gets_an_exact_gradient_from_an_opposed_teacher() -> None:
    q, z = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 40.0, 1.0]])
    for measure in ("js", "td", "sed", "mse"):
        _, single = value_and_gradient(measure, q, z)
        _, double = value_and_gradient(measure, q.double(), z.double())
        torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-28)  # of about 1e-16


def test_half_precision_logits_are_computed_in_float32_and_get_their_gradient_back() -> None:
    q, z = torch.tensor([[0.2, 0.8]]), torch.tensor([[1.0, -1.0]], dtype=torch.bfloat16)
    value, gradient = value_and_gradient("js", q, z)
    assert value.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    assert torch.equal(value, dissimilarity("js", q, z.float()))


def test_inputs_are_left_as_they_were() -> None:
    q, z = torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, -1.0]])
    for measure in MEASURES:
        value_and_gradient(measure, q, z)
        dissimilarity(measure, q, z)
        assert q.tolist() == [[0.0, 1.0]]
        assert z.tolist() == [[2.0, -1.0]]


def test_unknown_measure_is_refused_and_the_known_ones_are_listed() -> None:
    with pytest.raises(
        ConfigError,
        match=r"measure must be one of ce, kl, js, td, sed, mse, FILE\.py:function or .*, got cosine",
    ):
        dissimilarity("cosine", torch.ones(1, 2) / 2, torch.zeros(1, 2))


@pytest.mark.parametrize(("q", "z"), [((2, 3), (2, 4)), ((3,), (3,)), ((1, 3), (2, 3))])
def test_shapes_that_differ_or_are_not_batch_by_classes_are_refused(q: tuple[int, ...], z: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \[batch, classes\] alike"):
        dissimilarity("kl", torch.ones(q), torch.ones(z))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperature_that_is_not_above_zero_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be > 0"):
        dissimilarity("kl", torch.ones(1, 2) / 2, torch.zeros(1, 2), temperature)


# -- n-way forms ------------------------------------------------------------------------------------------------------


def many(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Teachers' probabilities [count, 4, 6] and the student's logits, float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count + 1, 4, 6, generator=generator, dtype=torch.float64)
    return logits[1:].softmax(-1), logits[0].requires_grad_()


@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from(NWAY_MEASURES))
@settings(deadline=None)
def test_nway_forms_equal_their_definition_in_value_and_gradient(seed: int, count: int, measure: str) -> None:
    teachers, z = many(seed, count)
    everybody = torch.cat([teachers, z.softmax(-1)[None]])

    def entropy(p: Tensor) -> Tensor:
        return -torch.special.xlogy(p, p).sum(-1)

    js = entropy(everybody.mean(0)) - entropy(everybody).mean(0)
    expected = js if measure == "js" else torch.expm1(js) / count
    got = nway_dissimilarity(measure, teachers, z)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)
    (gradient,) = torch.autograd.grad(got.sum(), z)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), z)[0], rtol=1e-8, atol=1e-11)
    assert (got >= 0).all()
    assert (got <= (math.log(count + 1) if measure == "js" else 1) + 1e-12).all()


@given(st.integers(0, 2**32), st.sampled_from(NWAY_MEASURES))
@settings(deadline=None)
def test_nway_form_of_two_is_the_measure_itself_and_order_does_not_matter(seed: int, measure: str) -> None:
    teachers, z = many(seed, 3)
    torch.testing.assert_close(nway_dissimilarity(measure, teachers[:1], z), dissimilarity(measure, teachers[0], z))
    torch.testing.assert_close(
        nway_dissimilarity(measure, teachers.flip(0), z), nway_dissimilarity(measure, teachers, z)
    )


@pytest.mark.parametrize("measure", NWAY_MEASURES)
def test_nway_forms_are_finite_at_the_ends_of_float32(measure: str) -> None:
    z = torch.tensor([[3e38, -3e38, 0.0], [0.0, 0.0, 0.0], [120.0, -120.0, 0.0]], requires_grad=True)
    teachers = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])[:, None].expand(2, 3, 3)
    value = nway_dissimilarity(measure, teachers, z)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("measure", NWAY_MEASURES)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_matched_nway_forms_agree_with_kl_near_equality_of_the_teachers(measure: str, count: int) -> None:
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(4, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    q = (z.detach() + 1e-4 * torch.randn(4, 6, generator=generator, dtype=torch.float64)).softmax(-1)
    scaled = second_order(measure, count + 1) * nway_dissimilarity(measure, q.expand(count, 4, 6), z)
    torch.testing.assert_close(scaled, dissimilarity("kl", q, z), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "row", [[-3.0, 5.0, 9.0], [0.5, 0.7, -0.2], [0.5, 0.4, 0.0], [1.0, 1.0, 1.0], [float("nan"), 0.5, 0.5]]
)
def test_teacher_that_is_no_distribution_is_an_error(row: list[float]) -> None:
    with pytest.raises(ValueError, match="must be probabilities"):
        dissimilarity("kl", torch.tensor([[0.2, 0.3, 0.5], row]), torch.zeros(2, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_rounded_probabilities_are_distributions(dtype: torch.dtype) -> None:
    q = torch.randn(64, 397, generator=torch.Generator().manual_seed(0)).mul(4).softmax(-1).to(dtype)
    assert dissimilarity("kl", q, torch.zeros(64, 397)).isfinite().all()


def test_function_may_stand_in_the_place_of_its_name_and_is_tried_as_a_named_one_is() -> None:
    q, z = torch.tensor([[0.2, 0.8]]), torch.tensor([[0.0, 1.0]])
    assert dissimilarity(lambda q, z: (q * z).sum(-1), q, z).item() == pytest.approx(0.8)
    with pytest.raises(ConfigError, match=r"measure object:lambda must give one value a sample: it makes \[\]"):
        dissimilarity(lambda q, z: z.sum(), q, z)


def test_name_of_an_object_that_is_not_at_hand_is_an_error_that_says_how_to_have_it_again() -> None:
    with pytest.raises(ConfigError, match="measure was object:mine, an object that a Python program had handed in"):
        dissimilarity("object:mine", torch.ones(1, 2) / 2, torch.zeros(1, 2))
