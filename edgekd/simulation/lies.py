"""The false predictions of a liar, to see in a simulation how well the others resist them. Pure functions."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from edgekd.names import LIE_NAMES, check_entries

SURE = 0.999  # probability of the class that a confident lie names; the other classes share the rest equally

# log-probabilities [heads, rows, classes] and a seed -> false log-probabilities of the same shape
Lie = Callable[[Tensor, int], Tensor]


def random(log_probs: Tensor, seed: int) -> Tensor:
    """Name a random class with confidence, a new one for each row."""
    *rows, classes = log_probs.shape
    return _sure(torch.randint(classes, rows, generator=torch.Generator().manual_seed(seed)), log_probs)


def flip(log_probs: Tensor, seed: int) -> Tensor:
    """Name class C - 1 - c with confidence, where c is the most probable class; with odd C, the middle one is true."""
    return _sure(log_probs.shape[-1] - 1 - log_probs.argmax(dim=-1), log_probs)


def constant(log_probs: Tensor, seed: int) -> Tensor:
    """Name class 0 with confidence in all rows, so that several liars agree."""
    return _sure(torch.zeros(log_probs.shape[:-1], dtype=torch.int64), log_probs)


def swap(log_probs: Tensor, seed: int) -> Tensor:
    """Swap the probabilities of the two most probable classes: as confident as the truth, and plausible."""
    values, classes = log_probs.topk(2, dim=-1)
    return log_probs.scatter(-1, classes, values.flip(-1))


LIES: dict[str, Lie] = {"random": random, "flip": flip, "constant": constant, "swap": swap}
check_entries("lies.LIES", LIES, LIE_NAMES)


def lie(kind: str, log_probs: Tensor, seed: int) -> Tensor:
    """Make the predictions that a liar sends instead of `log_probs`.

    Args:
        kind: one of `LIES`.
        log_probs: its true predictions, ``[heads, rows, classes]`` in CPU memory.
        seed: the seed of random numbers.

    Returns:
        Log-probabilities of the same shape; the probabilities of each row sum to 1.
    """
    return LIES[kind](log_probs, seed)


def _sure(chosen: Tensor, like: Tensor) -> Tensor:
    rest = math.log((1 - SURE) / (like.shape[-1] - 1))
    return torch.full_like(like, rest).scatter(-1, chosen.unsqueeze(-1), math.log(SURE))
