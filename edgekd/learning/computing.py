"""What ``auto`` means on this machine: threads and the numbers of the forward pass; and who goes first on the cores."""

import contextlib
import os
from dataclasses import replace

from edgekd.config import AUTO, Config
from edgekd.workers import threads_beside, usable_cores

NICE = 5  # a busy program beside gets three quarters of a core; with 10, two of them would leave heartbeats 5 %


def follows_cores(config: Config) -> bool:
    """Whether a peer's threads follow the cores that it may use: with ``auto``, but not in lockstep."""
    return config.train.threads in (None, AUTO) and config.exchange.sync is None


def as_followed(config: Config) -> Config:
    """The same settings with ``--threads auto``: to be kept by a peer whose threads follow its cores.

    A number in its place would hold for every later start of the peer.
    """
    return replace(config, train=replace(config.train, threads=AUTO))


def settle(config: Config, *, lockstep: bool, side_by_side: int | None = None) -> Config:
    """The same settings with a number of threads and a precision: see `threads_here` and `precision_here`."""
    threads = threads_here(config, lockstep=lockstep, side_by_side=side_by_side)
    precision = precision_here(config) if not lockstep and side_by_side is None else config.precision
    return replace(config, train=replace(config.train, threads=threads, precision=precision))


def threads_here(config: Config, *, lockstep: bool, side_by_side: int | None = None) -> int:
    """Torch threads a learner.

    Args:
        config: all settings.
        lockstep: learners wait for one another. ``auto`` is one thread then, so that all boxes and the simulation
            compute the same bits.
        side_by_side: learners that compute at once and share the cores; None: one process, beside other programs.
    """
    if config.train.threads not in (None, AUTO) or lockstep:
        return config.threads
    cores = usable_cores()
    return threads_beside(cores) if side_by_side is None else max(1, cores // side_by_side)


def precision_here(config: Config) -> str:
    """The precision of one peer that is not in lockstep. Elsewhere ``auto`` is float32: all are to compute alike."""
    if config.train.precision != AUTO:
        return config.precision
    from edgekd.learning.devices import choose_device, computes_bfloat16

    return "bfloat16" if computes_bfloat16(choose_device(config.train.device)) else config.precision


def go_last(nice: int | None) -> int | None:
    """Let other programs go first: raise the niceness of this process to `nice`, with None to `NICE`.

    It is never lowered, so a process that was started nicer stays so. Returns what it is now; None: this system has no
    such thing.
    """
    if not hasattr(os, "setpriority"):
        return None
    wanted = NICE if nice is None else nice
    with contextlib.suppress(PermissionError):  # a system may forbid even that
        if os.getpriority(os.PRIO_PROCESS, 0) < wanted:
            os.setpriority(os.PRIO_PROCESS, 0, wanted)
    return os.getpriority(os.PRIO_PROCESS, 0)
