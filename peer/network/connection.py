"""One stream between two peers after both Hellos: what is sent over it, in which order."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from edgekd.protocol.encodings import Packing
from edgekd.protocol.messages import Ack, Frame, Goodbye, Heartbeat, Hello, SoftPredictions
from edgekd.protocol.outbox import Outbox
from edgekd.protocol.timing import Timing
from peer.transports.base import Stream, StreamClosedError


class Connection:
    """The sending half of a stream, and what is known of its other end.

    Args:
        stream: open, Hellos exchanged.
        hello: the neighbour's.
        dialled_by: the id of the side that dialled.
        packing: of what it is sent: one that it can read.
        outbox: predictions for it.
        timing: how often it sends a heartbeat, and how long one frame may take.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        stream: Stream,
        hello: Hello,
        dialled_by: int,
        packing: Packing,
        outbox: Outbox[SoftPredictions],
        *,
        timing: Timing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream, self.hello, self.dialled_by = stream, hello, dialled_by
        self.packing, self.outbox = packing, outbox
        self._timing, self._clock = timing, clock
        self.newest = -1  # the newest round that has arrived over it
        self.heard = asyncio.Event()  # something came
        # What is owed is counted, not queued: a neighbour that does not read fills no memory.
        self._beat: Heartbeat | None = None  # the newest that waits
        self._owed = 0  # acknowledgements
        self._goodbye: Goodbye | None = None
        self._sending_since: float | None = None  # when the frame that is under way was begun
        self._wake = asyncio.Event()

    @property
    def id(self) -> int:
        return self.hello.id

    def send_soon(self, frame: Heartbeat | Goodbye) -> None:
        """Send a heartbeat before all else, or a goodbye after all else. Of two that wait the newer stays."""
        if isinstance(frame, Goodbye):
            self._goodbye = frame
        else:
            probes = frame.probe or (self._beat is not None and self._beat.probe)
            self._beat = replace(frame, probe=probes)
        self._wake.set()

    def acknowledge(self) -> None:
        """Send one more acknowledgement, of the newest round that has arrived."""
        self._owed += 1
        self._wake.set()

    def is_stalled(self, now: float) -> bool:
        """Whether one frame has been under way for so long that the neighbour seems to read nothing."""
        return self._sending_since is not None and now - self._sending_since >= self._timing.send_within

    def publish(self, frame: SoftPredictions) -> int:
        """Have predictions sent when their turn comes; how many that still waited they take the place of."""
        self._wake.set()
        return self.outbox.put(frame)

    def acked(self) -> bool:
        """The neighbour has one more of the predictions in flight; whether there were any."""
        self._wake.set()
        return self.outbox.acked(self._clock())

    async def write(self, heartbeat: Callable[[], Heartbeat], sent: Callable[[SoftPredictions], None]) -> None:
        """Send what there is to send, and a heartbeat at its interval, until the stream ends or a goodbye is sent.

        Args:
            heartbeat: makes one.
            sent: called after predictions have been handed to the network.
        """
        beat_at = self._clock() + self._timing.heartbeat_every
        try:
            while True:
                while (frame := self._next()) is not None:
                    self._sending_since = self._clock()
                    await self.stream.send(frame)
                    self._sending_since = None
                    if isinstance(frame, SoftPredictions):
                        sent(frame)
                    elif isinstance(frame, Goodbye):
                        return
                self._wake.clear()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), max(0.0, beat_at - self._clock()))
                if (now := self._clock()) >= beat_at:
                    beat_at = now + self._timing.heartbeat_every
                    self.send_soon(heartbeat())
        except StreamClosedError:
            pass
        finally:
            await self.stream.close()

    def _next(self) -> Frame | None:
        """The next frame to send; a goodbye follows the emptied outbox."""
        if (beat := self._beat) is not None:
            self._beat = None
            return beat
        if self._owed:
            self._owed -= 1
            return Ack(round=max(self.newest, 0))
        predictions = self.outbox.take(self._clock())
        return self._goodbye if predictions is None and self.outbox.empty else predictions
