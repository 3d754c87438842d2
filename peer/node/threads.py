"""Torch threads that follow the cores that a peer may use, as where a quota or an affinity changes while it runs."""

import logging

import torch

from edgekd.workers import threads_beside, usable_cores

LOOK_EVERY = 5.0  # seconds; a look takes less than a millisecond

log = logging.getLogger("edgekd")


class CoreFollower:
    """Sees to it that torch has as many threads as ``--threads auto`` would take now."""

    def __init__(self) -> None:
        self._threads, self._looked = torch.get_num_threads(), -LOOK_EVERY

    def follow(self, now: float) -> None:
        """Look, if it is time to; called between two steps, in the thread that trains.

        Args:
            now: seconds of the monotonic clock.
        """
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        cores = usable_cores()
        if (threads := threads_beside(cores)) != self._threads:
            log.info("cores it may use now: %d; threads: %d, before %d", cores, threads, self._threads)
            torch.set_num_threads(threads)
            self._threads = threads
