"""The queue of predictions that have arrived and wait for the training thread, for example during a long step."""

from collections import deque
from typing import Generic, TypeVar

from edgekd.protocol.board import ROUNDS

Arrival = TypeVar("Arrival")


class Waiting(Generic[Arrival]):
    """The newest `ROUNDS` arrivals of each sender.

    The board keeps as many. No sender can push out the arrivals of another one.

    Args:
        neighbours: how many senders are kept, since a stranger may use one id after another. If there are more, those
            that have sent nothing for longest are forgotten. None: there is no limit.
    """

    def __init__(self, *, neighbours: int | None = None) -> None:
        self._limit = neighbours
        self._of: dict[int, deque[tuple[int, Arrival]]] = {}  # by sender; the one that sent last stands last
        self._count = 0

    def put(self, sender: int, arrival: Arrival) -> None:
        """Keep an arrival until `take` is called."""
        kept = self._of.pop(sender, None) or deque(maxlen=ROUNDS)
        self._count += 1
        kept.append((self._count, arrival))
        self._of[sender] = kept
        if self._limit is not None and len(self._of) > self._limit:
            del self._of[next(iter(self._of))]

    def take(self) -> list[Arrival]:
        """Remove and return all arrivals, oldest first."""
        numbered = sorted((each for kept in self._of.values() for each in kept), key=lambda each: each[0])
        self._of.clear()
        return [arrival for _, arrival in numbered]
