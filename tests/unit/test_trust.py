"""Scores of neighbours: bounded, the liar's highest, and weights that shut nobody out."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgekd.losses.trust import MOST, RATE, SCALE, disagreements, updated, weights

seeds = st.integers(0, 2**32)
scores = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8)


def draw(seed: int, count: int, scale: float = 3.0) -> Tensor:
    """Probabilities, float32 [count, 8, 10]."""
    return F.softmax(scale * torch.randn(count, 8, 10, generator=torch.Generator().manual_seed(seed)), dim=-1)


@given(seeds, st.integers(1, 6), st.floats(0.1, 100))
@settings(deadline=None)
def test_disagreements_are_in_the_unit_interval_and_follow_the_order_of_teachers(
    seed: int, count: int, scale: float
) -> None:
    own, *teachers = draw(seed, count + 1, scale)
    found = disagreements(torch.stack(teachers), own)
    assert found.shape == (count,)
    assert ((found >= 0) & (found <= 1)).all()
    torch.testing.assert_close(disagreements(torch.stack(teachers[::-1]), own), found.flip(0))


def test_who_agrees_with_all_is_at_zero_and_who_believes_what_all_rule_out_is_at_one() -> None:
    own = F.one_hot(torch.arange(8) % 9, 10).float()
    lie = F.one_hot(torch.full((8,), 9), 10).float()
    found = disagreements(torch.stack([own, lie]), own)
    assert found.tolist() == [pytest.approx(0, abs=1e-6), pytest.approx(1)]


@given(seeds)
@settings(deadline=None)
def test_of_two_neighbours_the_one_that_lies_is_told_by_ones_own_predictions(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    truth = 4 * torch.randn(8, 10, generator=generator)
    own, honest = F.softmax(truth + torch.randn(2, 8, 10, generator=generator), dim=-1)
    lie = F.one_hot(torch.zeros(8, dtype=torch.int64), 10).float()
    good, bad = disagreements(torch.stack([honest, lie]), own).tolist()
    assert bad > good


@given(seeds, st.integers(2, 5))
@settings(deadline=None, max_examples=30)
def test_score_of_a_constant_liar_ends_above_those_of_the_honest(seed: int, honest: int) -> None:
    generator, found = torch.Generator().manual_seed(seed), {}
    lie = F.one_hot(torch.zeros(1, 8, dtype=torch.int64), 10).float()
    for _ in range(10):
        truth = 4 * torch.randn(8, 10, generator=generator)
        own, *others = F.softmax(truth + torch.randn(honest + 1, 8, 10, generator=generator), dim=-1)
        teachers = torch.cat([torch.stack(others), lie])
        found = updated(found, range(honest + 1), disagreements(teachers, own))
    assert all(0 <= float(score) <= 1 for score in found.values())
    assert float(found[honest]) > max(float(found[id]) for id in range(honest)) + 0.1
    assert int(weights([found[id] for id in range(honest + 1)]).argmin()) == honest


def test_scores_are_smoothed_over_lessons_and_a_newcomers_is_its_first() -> None:
    first = updated({}, [1], torch.tensor([0.5]))
    second = updated(first, [2, 1], torch.tensor([0.3, 1.0]))
    assert {id: float(score) for id, score in second.items()} == {
        1: pytest.approx(0.5 + RATE * 0.5),
        2: pytest.approx(0.3),
    }
    third = updated(second, [2], torch.tensor([0.3]))
    assert float(third[1]) == float(second[1]), "who says nothing keeps what it has"


def test_strangers_without_number_do_not_fill_the_memory_and_who_is_heard_stays() -> None:
    found: dict[int, Tensor] = {}
    for stranger in range(10, 10 + 2 * MOST):
        found = updated(found, [1, stranger], torch.tensor([0.1, 0.9]))
    assert len(found) == MOST
    assert {1, 9 + 2 * MOST} < set(found)


@given(scores)
@settings(deadline=None)
def test_weights_sum_to_one_and_nobody_is_shut_out(values: list[float]) -> None:
    found = weights([torch.tensor(value) for value in values])
    assert float(found.sum()) == pytest.approx(1, abs=1e-6)
    assert float(found.min()) >= math.exp(-1 / SCALE) / len(values) * 0.999
    assert float(found[values.index(min(values))]) >= 1 / len(values) * 0.999


@given(st.floats(0, 1, width=32), st.integers(1, 8))
@settings(deadline=None)
def test_equal_scores_weigh_alike(value: float, count: int) -> None:
    found = weights([torch.tensor(value)] * count)
    torch.testing.assert_close(found, torch.full((count,), 1 / count))


def test_scale_is_what_makes_a_neighbour_count_e_times_less() -> None:
    found = weights([torch.tensor(0.2), torch.tensor(0.2 + SCALE)])
    assert float(found[0] / found[1]) == pytest.approx(math.e, rel=1e-5)
