"""Seeds: every random number comes from a seed that is derived from names, the same on every platform."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(*names: int | str) -> int:
    """Derive a seed in [0, 2^63) from names with BLAKE2b, e.g. ``derive(seed, "peer", 2, "init")``."""
    text = "/".join(str(name) for name in names)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def uniform(*names: int | str) -> float:
    """A number in [0, 1) from a path of names, by the same rule as `derive`."""
    return derive(*names) / 2**63


_GENERATOR = threading.RLock()  # all threads share torch's global generator of a device


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Set torch's global generators to `seed` for a block, and restore their state afterwards.

    Layers such as dropout and torchvision's transforms draw from the global generators. The draws of one learner must
    not depend on other learners in the same process, so a lock admits only one thread at a time to such a block.
    """
    cuda = [device] if device is not None and device.type == "cuda" else []
    with _GENERATOR, torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield
