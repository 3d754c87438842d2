"""What a liar sends in the place of its predictions: to see in a simulation how the others hold out. Pure functions."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

SURE = 0.999  # probability that a confident lie gives to its class; the rest is spread evenly

# log-probabilities [heads, rows, classes] and a seed -> the same, of the lie
Lie = Callable[[Tensor, int], Tensor]


def random(log_probs: Tensor, seed: int) -> Tensor:
    """Sure of a class drawn at random, for each row of its own."""
    *rows, classes = log_probs.shape
    return _sure(torch.randint(classes, rows, generator=torch.Generator().manual_seed(seed)), log_probs)


def flip(log_probs: Tensor, seed: int) -> Tensor:
    """Sure of class C - 1 - c where it believes in c; in the middle one of an odd number both are the same."""
    return _sure(log_probs.shape[-1] - 1 - log_probs.argmax(dim=-1), log_probs)


def constant(log_probs: Tensor, seed: int) -> Tensor:
    """Always sure of class 0: several liars say the same."""
    return _sure(torch.zeros(log_probs.shape[:-1], dtype=torch.int64), log_probs)


def swap(log_probs: Tensor, seed: int) -> Tensor:
    """What it believes, with the two likeliest classes swapped: as sure as it is, and plausible."""
    values, classes = log_probs.topk(2, dim=-1)
    return log_probs.scatter(-1, classes, values.flip(-1))


LIES: dict[str, Lie] = {"random": random, "flip": flip, "constant": constant, "swap": swap}


def lie(kind: str, log_probs: Tensor, seed: int) -> Tensor:
    """What a liar sends instead of `log_probs`.

    Args:
        kind: one of `LIES`.
        log_probs: what it believes, ``[heads, rows, classes]`` in CPU memory.
        seed: of what is drawn.

    Returns:
        Log-probabilities of the same shape; every row's probabilities sum to 1.
    """
    return LIES[kind](log_probs, seed)


def _sure(chosen: Tensor, like: Tensor) -> Tensor:
    rest = math.log((1 - SURE) / (like.shape[-1] - 1))
    return torch.full_like(like, rest).scatter(-1, chosen.unsqueeze(-1), math.log(SURE))
