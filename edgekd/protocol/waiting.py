"""What has arrived from the neighbours while nobody looked, as during a long step. Pure."""

from collections import deque
from typing import Generic, TypeVar

from edgekd.protocol.board import ROUNDS

Arrival = TypeVar("Arrival")


class Waiting(Generic[Arrival]):
    """The newest `ROUNDS` arrivals of each sender: as many as the board keeps, and no sender pushes out another's.

    Args:
        neighbours: how many senders are kept, since strangers may take one id after another; of more, those that have
            sent nothing for longest are forgotten. None: any number.
    """

    def __init__(self, *, neighbours: int | None = None) -> None:
        self._limit = neighbours
        self._of: dict[int, deque[tuple[int, Arrival]]] = {}  # by sender; the last to send is last
        self._count = 0

    def put(self, sender: int, arrival: Arrival) -> None:
        """Keep what has arrived until it is taken."""
        kept = self._of.pop(sender, None) or deque(maxlen=ROUNDS)
        self._count += 1
        kept.append((self._count, arrival))
        self._of[sender] = kept
        if self._limit is not None and len(self._of) > self._limit:
            del self._of[next(iter(self._of))]

    def take(self) -> list[Arrival]:
        """All that waits, oldest first."""
        numbered = sorted((each for kept in self._of.values() for each in kept), key=lambda each: each[0])
        self._of.clear()
        return [arrival for _, arrival in numbered]
