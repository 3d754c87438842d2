"""The laws of the robust combinations: order, probabilities, and what a minority of liars can do."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgekd.losses.combinations import combine, coordinate_middle, median, trimmed_mean, weighted_mean

seeds = st.integers(0, 2**32)


def draw(seed: int, teachers: int, scale: float = 3.0) -> Tensor:
    """Probabilities, float64 [teachers, 4, 6]."""
    generator = torch.Generator().manual_seed(seed)
    return F.softmax(scale * torch.randn(teachers, 4, 6, generator=generator, dtype=torch.float64), dim=-1)


def liars(seed: int, count: int) -> Tensor:
    """Each row all on one class."""
    classes = torch.randint(6, (count, 4), generator=torch.Generator().manual_seed(seed))
    return F.one_hot(classes, 6).double()


@given(seeds, st.integers(1, 7), st.sampled_from(["median", "trimmed", "agreement"]), st.floats(0.1, 50))
@settings(deadline=None)
def test_targets_are_finite_probabilities_whatever_the_order(seed: int, count: int, how: str, scale: float) -> None:
    teachers = draw(seed, count, scale)
    weights = F.softmax(torch.arange(count, dtype=torch.float64), dim=0)
    target = combine(how, teachers, weights=weights)
    assert target.shape == (1, 4, 6)
    assert target.isfinite().all()
    assert (target >= 0).all()
    torch.testing.assert_close(target.sum(-1), torch.ones(1, 4, dtype=torch.float64))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(combine(how, teachers[order], weights=weights[order]), target)


@given(seeds, st.integers(1, 6))
@settings(deadline=None)
def test_equal_teachers_are_what_they_agree_on(seed: int, count: int) -> None:
    (one,) = draw(seed, 1)
    teachers = one.expand(count, 4, 6)
    for how in ("median", "trimmed", "agreement"):
        torch.testing.assert_close(combine(how, teachers)[0], one)


@given(seeds, st.integers(1, 9), st.integers(0, 4))
@settings(deadline=None)
def test_median_lies_within_the_range_of_the_honest_whatever_a_minority_says(seed: int, count: int, lying: int) -> None:
    lying = min(lying, (count - 1) // 2)
    honest = draw(seed, count - lying)
    middle = coordinate_middle(torch.cat([honest, liars(seed, lying)]), (count - 1) // 2)
    assert (middle >= honest.amin(dim=0) - 1e-12).all()
    assert (middle <= honest.amax(dim=0) + 1e-12).all()


@given(seeds, st.integers(1, 9), st.integers(0, 3))
@settings(deadline=None)
def test_trimmed_mean_lies_within_the_range_of_the_honest_if_a_third_lie(seed: int, count: int, lying: int) -> None:
    lying = min(lying, count // 3)
    honest = draw(seed, count - lying)
    middle = coordinate_middle(torch.cat([honest, liars(seed, lying)]), count // 3)
    assert (middle >= honest.amin(dim=0) - 1e-12).all()
    assert (middle <= honest.amax(dim=0) + 1e-12).all()


@given(seeds, st.integers(1, 9))
@settings(deadline=None)
def test_median_and_trimmed_mean_are_the_renormalised_middle(seed: int, count: int) -> None:
    teachers = draw(seed, count)
    for got, left_out in ((median(teachers), (count - 1) // 2), (trimmed_mean(teachers), count // 3)):
        middle = coordinate_middle(teachers, left_out)
        torch.testing.assert_close(got[0], middle / middle.sum(-1, keepdim=True))


@given(seeds)
@settings(deadline=None)
def test_of_few_teachers_the_robust_ones_coincide_with_the_mean_and_with_each_other(seed: int) -> None:
    for count in (1, 2):
        teachers = draw(seed, count)
        for how in ("median", "trimmed"):
            torch.testing.assert_close(combine(how, teachers), combine("average", teachers))
    for count in (3, 4):
        teachers = draw(seed, count)
        torch.testing.assert_close(combine("median", teachers), combine("trimmed", teachers))


def test_row_whose_medians_are_all_zero_is_even() -> None:
    assert median(torch.eye(3)[:, None]).tolist() == [[pytest.approx([1 / 3] * 3)]]


@given(seeds, st.integers(1, 6))
@settings(deadline=None)
def test_agreement_is_the_weighted_mean_and_without_weights_the_average(seed: int, count: int) -> None:
    teachers = draw(seed, count)
    torch.testing.assert_close(combine("agreement", teachers), combine("average", teachers))
    weights = F.softmax(draw(seed, 1).flatten()[:count], dim=0)
    expected = (weights[:, None, None] * teachers).sum(dim=0, keepdim=True)
    torch.testing.assert_close(combine("agreement", teachers, weights=weights), expected)
    torch.testing.assert_close(weighted_mean(teachers, weights), expected)
    torch.testing.assert_close(combine("average", teachers, weights=weights), combine("average", teachers))
