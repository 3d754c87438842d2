"""What liars send: log-probabilities as anybody's, and the lie that its name says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgekd.simulation.lies import LIES, SURE, lie

seeds = st.integers(0, 2**62)


def draw(seed: int, classes: int = 10) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.log_softmax(3 * torch.randn(2, 8, classes, generator=generator), dim=-1)


@given(seeds, st.sampled_from(list(LIES)), st.integers(2, 12))
@settings(deadline=None)
def test_lie_is_finite_log_probabilities_and_the_same_for_the_same_seed(seed: int, kind: str, classes: int) -> None:
    believed = draw(seed, classes)
    before = believed.clone()
    told = lie(kind, believed, seed)
    assert told.shape == believed.shape
    assert told.dtype == believed.dtype
    assert told.isfinite().all()
    torch.testing.assert_close(told.exp().sum(-1), torch.ones(2, 8))
    assert torch.equal(lie(kind, believed, seed), told)
    assert torch.equal(believed, before)


@pytest.mark.parametrize("kind", ["random", "flip", "constant"])
def test_confident_lie_is_sure(kind: str) -> None:
    assert lie(kind, draw(1), 2).exp().amax(-1).tolist() == [[pytest.approx(SURE)] * 8] * 2


def test_flip_mirrors_the_class_and_constant_is_the_first() -> None:
    believed = draw(3)
    assert torch.equal(lie("flip", believed, 0).argmax(-1), 9 - believed.argmax(-1))
    assert (lie("constant", believed, 0).argmax(-1) == 0).all()


def test_random_draws_anew_for_each_seed_and_row() -> None:
    told = lie("random", draw(4), 0).argmax(-1)
    assert len(told.flatten().unique()) > 1
    assert not torch.equal(lie("random", draw(4), 1).argmax(-1), told)


def test_swap_keeps_all_but_the_two_likeliest() -> None:
    believed = draw(5)
    told = lie("swap", believed, 0)
    values, classes = believed.topk(2, dim=-1)
    assert torch.equal(told.gather(-1, classes), values.flip(-1))
    assert torch.equal(told.sort(-1).values, believed.sort(-1).values)
