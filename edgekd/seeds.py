"""Every random draw comes from a named seed: numbers derived from names, the same on every platform."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(*names: int | str) -> int:
    """A seed in [0, 2^63) out of a path of names, e.g. ``derive(seed, "peer", 2, "init")`` (BLAKE2b)."""
    text = "/".join(str(name) for name in names)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


_GENERATOR = threading.RLock()  # torch has one generator a device for all threads


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Run a block with torch's global generators at `seed`, and put them back afterwards.

    Layers such as dropout and torchvision's transforms draw from the global generators; learners that share a process
    must not see one another's draws. So in threads one such block waits for another.
    """
    cuda = [device] if device is not None and device.type == "cuda" else []
    with _GENERATOR, torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield
