"""A virtual clock: what happens next, in an order that depends on nothing but the events themselves."""

import heapq
from collections.abc import Callable
from enum import IntEnum

TICKS = 10_000  # of the clock in one unit: a step of the first client


class Kind(IntEnum):
    """What happens first of several events of one instant."""

    DELIVERY = 0  # of a frame
    ACK = 1  # an acknowledgement arrives
    OUTAGE = 2  # a box goes down or comes back
    STEP = 3  # a mark of a peer's step, or another time of its own


class Queue:
    """Events by time, then kind, then peer, then the order in which they were planned. Times are whole ticks."""

    def __init__(self) -> None:
        self._events: list[tuple[int, Kind, int, int, Callable[[], None]]] = []
        self._planned = 0
        self.now = 0

    def at(self, time: int, kind: Kind, peer: int, do: Callable[[], None]) -> None:
        """Plan `do` for `time`, which is not before `now`."""
        self._planned += 1
        heapq.heappush(self._events, (max(time, self.now), kind, peer, self._planned, do))

    def run(self, until: Callable[[], bool]) -> None:
        """Let events happen, one after another, until `until()` holds or there is none left."""
        while self._events and not until():
            self.now, _, _, _, do = heapq.heappop(self._events)
            do()
