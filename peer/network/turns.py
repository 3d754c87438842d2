"""Whose turn it is to be admitted: callers of one id one after another, callers of different ids side by side."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MOST = 2  # callers of one id at once: one that is decided about, and one that waits


class Turns:
    """A lock for each id. A probe takes its time: it must hold up nobody but callers of the same id."""

    def __init__(self) -> None:
        self._locks: dict[int, asyncio.Lock] = {}
        self._callers: Counter[int] = Counter()  # by id; whoever holds the lock is among them

    def is_full(self, id: int) -> bool:
        """Whether one more caller of this id would have to wait behind another that waits."""
        return self._callers[id] >= MOST

    def taken(self, id: int) -> bool:
        """Whether a caller of this id is being decided about."""
        return id in self._locks

    @asynccontextmanager
    async def take(self, id: int) -> AsyncIterator[None]:
        """In this block no other caller of the same id is decided about."""
        self._callers[id] += 1
        try:
            async with self._locks.setdefault(id, asyncio.Lock()):
                yield
        finally:
            self._callers[id] -= 1
            if not self._callers[id]:  # ids are without number: nothing is kept of them
                del self._callers[id], self._locks[id]
