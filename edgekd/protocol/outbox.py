"""What one neighbour has still to be sent: the newest predictions only, and never more in flight than it keeps up with.

Pure: the caller has the clock.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from edgekd.protocol.board import ROUNDS
from edgekd.protocol.messages import SoftPredictions

Predictions = TypeVar("Predictions")  # a frame; a simulation has more to say of it

WINDOW = 2  # frames in flight, unacknowledged, at most; but on a quick or long link
MOST = 32768  # bytes in flight there, of payload: 100 kbit/s carry them in 2.6 s, so no heartbeat is late behind them
SLOW = 1.5  # an acknowledgement that takes so many times as long as the quickest one has waited behind other frames


def payload(frame: SoftPredictions) -> int:
    """How long a frame's payload is, in bytes."""
    return len(frame.payload)


class Outbox(Generic[Predictions]):
    """Latest wins; in lockstep a queue, which lockstep itself bounds to two but for a neighbour that is not waited for.

    Two frames may be in flight. More, up to `MOST` bytes, fill a link over which a frame is long under way: else there
    would be one a round trip, however many steps that is. They are sent as long as acknowledgements come about as soon
    as ever. Where they come later, frames queue up somewhere, and more of them would only be older when they arrive.

    Args:
        lockstep: nothing is replaced, as long as no more wait than the receiver keeps.
        size: of a frame, in bytes.
        again: frames that every new stream starts with, oldest first: what the last stream may have lost.
    """

    def __init__(
        self, *, lockstep: bool, size: Callable[[Predictions], int], again: tuple[Predictions, ...] = ()
    ) -> None:
        self._waiting: deque[Predictions] = deque(again, maxlen=ROUNDS if lockstep else 1)
        self._size = size
        self._in_flight: deque[tuple[float, int]] = deque()  # when it was sent, and its size; oldest first
        self._quickest, self._last = math.inf, 0.0  # acknowledgements: how long they took

    def put(self, frame: Predictions) -> int:
        """Have `frame` sent when its turn comes; how many that still waited it takes the place of."""
        replaced = int(len(self._waiting) == self._waiting.maxlen)
        self._waiting.append(frame)
        return replaced

    def take(self, now: float) -> Predictions | None:
        """The next frame that may be sent now, if any; it counts as in flight until `acked`.

        Args:
            now: of a monotonic clock, in any unit.
        """
        if not self._waiting or not self._may_send(self._size(self._waiting[0])):
            return None
        frame = self._waiting.popleft()
        self._in_flight.append((now, self._size(frame)))
        return frame

    def _may_send(self, size: int) -> bool:
        if len(self._in_flight) < WINDOW:
            return True
        queues_up = self._last > SLOW * self._quickest
        return not queues_up and sum(each for _, each in self._in_flight) + size <= MOST

    def acked(self, now: float) -> bool:
        """The neighbour has one more of the frames in flight: it acknowledges each; whether there were any.

        Args:
            now: of the same clock.
        """
        if not self._in_flight:
            return False
        sent, _ = self._in_flight.popleft()
        self._last = now - sent
        self._quickest = min(self._quickest, self._last)
        return True

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._waiting
