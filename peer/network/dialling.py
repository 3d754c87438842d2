"""Dialling the neighbours: each address is tried again and again while the peer there is not connected."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Container, Coroutine
from typing import Any

from edgekd.protocol.timing import Timing
from peer.network.news import News
from peer.transports.resolving import UnresolvedError

BACKOFF_FACTOR = 1.6  # the pause between two tries grows by this factor
NAMED_WITHIN = 5.0  # seconds until a host name must resolve: docker compose adds it when its container starts


class Dialler:
    """Keeps dialling addresses, with one task for each. All of it runs on one asyncio loop.

    A failed dial is logged only if it has lasted: for `timing.down_after` seconds, since peers that are started
    together do not listen at the same moment, or for `NAMED_WITHIN` seconds if the host name does not resolve.

    Args:
        converse: dials an address and returns when the stream has ended: the id of the peer there, or None if it sent
            no Hello or is this peer itself. Raises OSError if nobody answers.
        spawn: runs a coroutine as a task.
        connected: the ids of the connected peers.
        own: addresses that turned out to be this peer itself. They are dialled again, but rarely: another program
            may have echoed this peer's Hello.
        expected: whether peer `id` should answer, so that a failed dial is worth a line in the log.
        news: the log.
        timing: the pauses between two tries.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        converse: Callable[[str], Awaitable[int | None]],
        spawn: Callable[[Coroutine[Any, Any, None]], Any],
        *,
        connected: Container[int | None],
        own: set[str],
        expected: Callable[[int | None], bool],
        news: News,
        timing: Timing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._converse, self._spawn = converse, spawn
        self._connected, self._own, self._expected, self._news = connected, own, expected, news
        self._timing, self._clock = timing, clock
        self._dialled: set[str] = set()
        self._forgotten: set[str] = set()
        self._lost = asyncio.Event()
        self._stopped = False

    def dial(self, address: str, id: int | None = None) -> None:
        """Start dialling `address`, unless it is dialled already; `id`: of the peer that is said to listen there."""
        self._forgotten.discard(address)
        if not self.dials(address) and not self._stopped:
            self._dialled.add(address)
            self._spawn(self._keep_dialling(address, id))

    def forget(self, address: str) -> None:
        """Stop dialling `address` as soon as a dial there fails."""
        if self.dials(address):
            self._forgotten.add(address)

    def dials(self, address: str) -> bool:
        """Whether `address` is being dialled."""
        return address in self._dialled

    def lost(self) -> None:
        """Note that a connection has ended, so that its peer is dialled again."""
        self._lost.set()

    def stop(self) -> None:
        """Start no further dial."""
        self._stopped = True

    async def _keep_dialling(self, address: str, id: int | None) -> None:
        pause, silent_until = self._timing.backoff_first, self._clock() + self._timing.down_after
        unknown_until = min(silent_until, self._clock() + NAMED_WITHIN)
        while not self._stopped:
            if address in self._own:
                if address in self._forgotten:
                    break
                await asyncio.sleep(self._timing.self_again)
                self._own.discard(address)
            if id in self._connected:
                self._lost.clear()
                await self._lost.wait()
                continue
            began = self._clock()
            try:
                id = await self._converse(address)
            except OSError as error:
                if address in self._forgotten:
                    break
                patient_until = unknown_until if isinstance(error, UnresolvedError) else silent_until
                if self._expected(id) and self._clock() >= patient_until:
                    self._news.say(address, logging.INFO, f"{error}; keep dialling", self._clock())
            else:
                silent_until = unknown_until = began
                if self._clock() - began > self._timing.backoff_max:
                    pause = self._timing.backoff_first
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # jitter; learning does not depend on it: no seed
            pause = min(pause * BACKOFF_FACTOR, self._timing.backoff_max)
        self._forgotten.discard(address)
        self._dialled.discard(address)
