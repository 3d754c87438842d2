"""What ``auto`` means on this machine: the number of threads and the precision; and the priority of the process."""

import contextlib
import os
from dataclasses import replace

from edgekd.config import AUTO, Config
from edgekd.workers import threads_beside, usable_cores

NICE = 5  # another busy program then gets 3/4 of a core; at 10, two programs would leave the heartbeats only 5 %


def follows_cores(config: Config) -> bool:
    """Whether a peer adapts its threads to its usable cores while it runs: with ``auto``, except in lockstep."""
    return config.train.threads in (None, AUTO) and config.exchange.sync is None


def as_followed(config: Config) -> Config:
    """The same settings with ``--threads auto``, for the settings file of a peer that adapts its threads.

    A number in the file would be used at every later start of the peer.
    """
    return replace(config, train=replace(config.train, threads=AUTO))


def settle(config: Config, *, lockstep: bool, side_by_side: int | None = None) -> Config:
    """The same settings with ``auto`` replaced: the threads by `threads_here`, the precision by `precision_here`."""
    threads = threads_here(config, lockstep=lockstep, side_by_side=side_by_side)
    precision = precision_here(config) if not lockstep and side_by_side is None else config.precision
    return replace(config, train=replace(config.train, threads=threads, precision=precision))


def threads_here(config: Config, *, lockstep: bool, side_by_side: int | None = None) -> int:
    """The number of torch threads of one learner, >= 1.

    Args:
        config: all settings.
        lockstep: whether learners wait for one another. Then ``auto`` is one thread, so that all boxes and the
            simulation compute the same bits.
        side_by_side: how many learners compute at the same time on these cores; None: this is the only one.
    """
    if config.train.threads not in (None, AUTO) or lockstep:
        return config.threads
    cores = usable_cores()
    return threads_beside(cores) if side_by_side is None else max(1, cores // side_by_side)


def precision_here(config: Config) -> str:
    """The precision of one peer that is not in lockstep: with ``auto`` bfloat16 if the device computes it fast.

    In lockstep and in simulations ``auto`` is always float32, so that all learners compute the same.
    """
    if config.train.precision != AUTO:
        return config.precision
    from edgekd.learning.devices import choose_device, computes_bfloat16

    return "bfloat16" if computes_bfloat16(choose_device(config.train.device)) else config.precision


def go_last(nice: int | None) -> int | None:
    """Give other programs priority: raise the niceness of this process to `nice` (None: `NICE`); never lower it.

    Returns:
        The niceness now; None: this system has no niceness.
    """
    if not hasattr(os, "setpriority"):
        return None
    wanted = NICE if nice is None else nice
    with contextlib.suppress(PermissionError):  # some systems forbid even raising it
        if os.getpriority(os.PRIO_PROCESS, 0) < wanted:
            os.setpriority(os.PRIO_PROCESS, 0, wanted)
    return os.getpriority(os.PRIO_PROCESS, 0)
