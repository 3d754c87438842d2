"""Whom a peer dials: each address for as long as it takes, whenever the peer that lives there is not connected."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Container, Coroutine
from typing import Any

from edgekd.protocol.timing import Timing
from peer.network.news import News
from peer.transports.resolving import UnresolvedError

BACKOFF_FACTOR = 1.6  # by which the pause between two tries grows
NAMED_WITHIN = 5.0  # seconds until a name is known: docker compose makes it known when its container starts


class Dialler:
    """Keeps dialling. All of it runs on one asyncio loop.

    Args:
        converse: dials an address; returns, once the stream has ended, the id of the peer there (None: it became no
            neighbour). Raises OSError if nobody answers.
        spawn: runs a coroutine as a task.
        connected: the ids of the peers that are.
        own: addresses that turned out to be this peer itself; they are dialled again rarely, since somebody else may
            have echoed this peer's Hello there.
        expected: whether somebody should answer where peer `id` lives, so that silence there is news.
        news: says so.
        timing: the pauses between two tries, and how long silence of an address that has never answered is no news:
            peers that are started together do not listen all at once. That a name is unknown is news after
            `NAMED_WITHIN` seconds.
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
        """Dial `address` from now on, if that is not done already; `id`: of the peer that is said to live there."""
        self._forgotten.discard(address)
        if not self.dials(address) and not self._stopped:
            self._dialled.add(address)
            self._spawn(self._keep_dialling(address, id))

    def forget(self, address: str) -> None:
        """Dial `address` no longer once nobody has answered there."""
        if self.dials(address):
            self._forgotten.add(address)

    def dials(self, address: str) -> bool:
        """Whether `address` is one of those that it dials."""
        return address in self._dialled

    def lost(self) -> None:
        """A connection has gone: whoever lives there is dialled again."""
        self._lost.set()

    def stop(self) -> None:
        """Begin no further try."""
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
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # jitter: not a draw that learning depends on
            pause = min(pause * BACKOFF_FACTOR, self._timing.backoff_max)
        self._forgotten.discard(address)
        self._dialled.discard(address)
