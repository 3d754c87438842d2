"""The order in which callers are admitted: those with the same id one after another, all others in parallel."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MOST = 2  # callers with one id at a time: one that is being decided on, and one that waits


class Turns:
    """A lock for each peer id. Probing a neighbour takes a while and must delay only callers with the same id."""

    def __init__(self) -> None:
        self._locks: dict[int, asyncio.Lock] = {}
        self._callers: Counter[int] = Counter()  # by id; the one that holds the lock is counted too

    def is_full(self, id: int) -> bool:
        """Whether a caller with this id is waiting already, so that no further one may wait."""
        return self._callers[id] >= MOST

    def taken(self, id: int) -> bool:
        """Whether the admission of a caller with this id is being decided on now."""
        return id in self._locks

    @asynccontextmanager
    async def take(self, id: int) -> AsyncIterator[None]:
        """Hold the lock of this id: inside the block no other caller with the same id is decided on."""
        self._callers[id] += 1
        try:
            async with self._locks.setdefault(id, asyncio.Lock()):
                yield
        finally:
            self._callers[id] -= 1
            if not self._callers[id]:  # callers may send any number of ids, so an idle one is not kept
                del self._callers[id], self._locks[id]
