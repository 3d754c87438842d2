"""The outbox: the predictions that must still be sent to one neighbour.

It keeps only the newest predictions, and limits how many are in flight, that is sent and not yet acknowledged. It has
no clock of its own: the caller passes `now`.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from edgekd.protocol.board import ROUNDS
from edgekd.protocol.messages import SoftPredictions

Predictions = TypeVar("Predictions")  # the type of a frame; simulations use another type than the peer

WINDOW = 2  # number of frames that may always be in flight
MOST = 32768  # bytes of payload in flight; 100 kbit/s carry them in 2.6 s, so heartbeats still come in time
# An acknowledgement that takes longer than this many times the quickest one shows that its frame had to queue.
SLOW = 1.5
MEASURE_EVERY = 100  # acknowledgements; then a slow link is emptied, to measure how long a frame takes alone


def payload(frame: SoftPredictions) -> int:
    """The number of bytes of a frame's payload."""
    return len(frame.payload)


class Outbox(Generic[Predictions]):
    """The predictions that wait to be sent to one neighbour; new ones replace those that wait.

    In lockstep nothing is replaced: it is a queue. Lockstep itself keeps it at two frames, except for a neighbour that
    nobody waits for.

    `WINDOW` frames may always be in flight. More frames, up to `MOST` bytes, may be in flight on a link with a long
    delay. Otherwise only two frames would arrive in each round trip, however many steps that takes. The acknowledgement
    times show whether frames queue up on the way. If one takes longer than `SLOW` times that of a frame sent alone, the
    limit falls back to `WINDOW`: in a queue, frames would only become old. Each quick acknowledgement raises it by one.

    Args:
        lockstep: True: nothing is replaced, as long as no more frames wait than the receiver keeps.
        size: a function that returns the size of a frame in bytes.
        again: frames that every new stream starts with, oldest first, since the last stream may have lost them.
    """

    def __init__(
        self, *, lockstep: bool, size: Callable[[Predictions], int], again: tuple[Predictions, ...] = ()
    ) -> None:
        self._waiting: deque[Predictions] = deque(again, maxlen=ROUNDS if lockstep else 1)
        self._size = size
        self._in_flight: deque[tuple[float, int, bool]] = deque()  # when sent, size, sent alone; oldest first
        self._window = MOST  # number of frames; in practice without limit until the first slow acknowledgement
        self._quickest = math.inf  # shortest time until an acknowledgement
        self._measured = 0  # acknowledgements since that of a frame that was sent alone

    def put(self, frame: Predictions) -> int:
        """Add a frame that will be sent in its turn; returns how many waiting frames it replaces (0 or 1)."""
        replaced = int(len(self._waiting) == self._waiting.maxlen)
        self._waiting.append(frame)
        return replaced

    def take(self, now: float) -> Predictions | None:
        """Take the next frame that may be sent now, or None; it is in flight until `acked`.

        Args:
            now: time of a monotonic clock, in any unit.
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
        """Note that the neighbour has acknowledged the oldest frame in flight.

        Args:
            now: time of the same clock.

        Returns:
            False if no frame was in flight.
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
        """Whether no frame waits to be sent."""
        return not self._waiting
