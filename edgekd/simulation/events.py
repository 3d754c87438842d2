"""A virtual clock: a queue of events, whose order depends only on the events themselves."""

import heapq
from collections.abc import Callable
from enum import IntEnum

TICKS = 10_000  # in one unit, which is one step of the first client


class Kind(IntEnum):
    """Kinds of events; of several events at the same time, the smaller number comes first."""

    DELIVERY = 0  # a frame arrives
    ACK = 1  # an acknowledgement arrives
    OUTAGE = 2  # a box goes off or comes back
    STEP = 3  # a part of a peer's step, or another time in its plan


class Queue:
    """Events, sorted by time, then kind, then peer, then the order of planning. Times are whole ticks."""

    def __init__(self) -> None:
        self._events: list[tuple[int, Kind, int, int, Callable[[], None]]] = []
        self._planned = 0
        self.now = 0

    def at(self, time: int, kind: Kind, peer: int, do: Callable[[], None]) -> None:
        """Plan to call `do` at `time`; a time before `now` counts as `now`."""
        self._planned += 1
        heapq.heappush(self._events, (max(time, self.now), kind, peer, self._planned, do))

    def run(self, until: Callable[[], bool]) -> None:
        """Handle events one after another until `until()` is true or no event is left."""
        while self._events and not until():
            self.now, _, _, _, do = heapq.heappop(self._events)
            do()
