"""Adapts the number of torch threads while a peer runs, when a quota or an affinity changes its usable cores."""

import logging
import os

import torch

from edgekd.workers import threads_beside, usable_cores

LOOK_EVERY = 5.0  # seconds; a check takes less than a millisecond

log = logging.getLogger("edgekd")


class CoreFollower:
    """Keeps the number of torch threads at what ``--threads auto`` would choose now."""

    def __init__(self) -> None:
        self._threads, self._looked = torch.get_num_threads(), -LOOK_EVERY

    def follow(self, now: float) -> None:
        """Check the usable cores every `LOOK_EVERY` seconds. Call it between two steps, in the training thread.

        Args:
            now: seconds of the monotonic clock.
        """
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        _adopt_affinity()
        cores = usable_cores()
        if (threads := threads_beside(cores)) != self._threads:
            log.info("cores it may use now: %d; threads: %d, before %d", cores, threads, self._threads)
            torch.set_num_threads(threads)
            self._threads = threads


def _adopt_affinity() -> None:
    """Give this thread the CPU affinity of the process's main thread, which is the one that ``taskset -p PID`` sets."""
    if hasattr(os, "sched_setaffinity"):  # Linux
        wanted = os.sched_getaffinity(os.getpid())
        if wanted != os.sched_getaffinity(0):
            os.sched_setaffinity(0, wanted)
