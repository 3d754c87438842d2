"""What one neighbour has still to be sent: the newest predictions only, and never more in flight than it keeps up with.

Pure: bytes and clocks are the caller's.
"""

from collections import deque
from typing import Generic, TypeVar

from edgekd.protocol.board import ROUNDS

Predictions = TypeVar("Predictions")  # a frame; a simulation has more to say of it

WINDOW = 2  # frames in flight, unacknowledged, at most


class Outbox(Generic[Predictions]):
    """Latest wins; in lockstep a queue, which lockstep itself bounds to two but for a neighbour that is not waited for.

    Args:
        lockstep: nothing is replaced, as long as no more wait than the receiver keeps.
        again: frames that every new stream starts with, oldest first: what the last stream may have lost.
    """

    def __init__(self, *, lockstep: bool, again: tuple[Predictions, ...] = ()) -> None:
        self._waiting: deque[Predictions] = deque(again, maxlen=ROUNDS if lockstep else 1)
        self._in_flight = 0

    def put(self, frame: Predictions) -> int:
        """Have `frame` sent when its turn comes; how many that still waited it takes the place of."""
        replaced = int(len(self._waiting) == self._waiting.maxlen)
        self._waiting.append(frame)
        return replaced

    def take(self) -> Predictions | None:
        """The next frame that may be sent now, if any; it counts as in flight until `acked`."""
        if not self._waiting or self._in_flight >= WINDOW:
            return None
        self._in_flight += 1
        return self._waiting.popleft()

    def acked(self) -> bool:
        """The neighbour has one more of the frames in flight: it acknowledges each; whether there were any."""
        expected, self._in_flight = self._in_flight > 0, max(0, self._in_flight - 1)
        return expected

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._waiting
