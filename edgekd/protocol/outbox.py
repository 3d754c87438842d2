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

WINDOW = 2  # frames that may always be in flight, unacknowledged
MOST = 32768  # bytes of payload that may be at best: 100 kbit/s carry them in 2.6 s, so heartbeats come in time
SLOW = 1.5  # an acknowledgement that takes so many times as long as the quickest one has waited behind other frames
MEASURE_EVERY = 100  # acknowledgements after which a slow link is let run empty, to see what it takes by itself


def payload(frame: SoftPredictions) -> int:
    """How long a frame's payload is, in bytes."""
    return len(frame.payload)


class Outbox(Generic[Predictions]):
    """Latest wins; in lockstep a queue, which lockstep itself bounds to two but for a neighbour that is not waited for.

    `WINDOW` frames may always be in flight. More, up to `MOST` bytes, fill a link over which a frame is long under way:
    else two would arrive in each round trip, however many steps that is. An acknowledgement that takes more than `SLOW`
    times as long as that of a frame sent alone tells that frames queue up somewhere, where more of them would only grow
    old: then it is `WINDOW` again, and one more with each acknowledgement that is quick.

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
        self._in_flight: deque[tuple[float, int, bool]] = deque()  # sent when, size, sent alone; oldest first
        self._window = MOST  # frames; no bound until the first slow acknowledgement
        self._quickest = math.inf  # how long an acknowledgement took that did not have to wait
        self._measured = 0  # acknowledgements since that of a frame sent alone

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
        self._in_flight.append((now, self._size(frame), not self._in_flight))
        return frame

    def _may_send(self, size: int) -> bool:
        if not self._in_flight:
            return True
        if self._window == WINDOW and self._measured >= MEASURE_EVERY:
            return False
        bytes_in_flight = sum(each for _, each, _ in self._in_flight)
        return len(self._in_flight) < (self._window if bytes_in_flight + size <= MOST else WINDOW)

    def acked(self, now: float) -> bool:
        """The neighbour has one more of the frames in flight: it acknowledges each; whether there were any.

        Args:
            now: of the same clock.
        """
        if not self._in_flight:
            return False
        sent, _, alone = self._in_flight.popleft()
        took = now - sent
        self._quickest = took if alone else min(self._quickest, took)
        self._window = self._window + 1 if took <= SLOW * self._quickest else WINDOW
        self._measured = 0 if alone else self._measured + 1
        return True

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._waiting
