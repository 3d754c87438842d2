"""One stream between two peers after both Hellos: what is sent over it, and in which order."""

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
    """The sending half of a stream to a neighbour.

    Args:
        stream: open, with the Hellos exchanged.
        hello: the neighbour's.
        dialled_by: the id of the peer that dialled.
        packing: how predictions are encoded for this neighbour.
        outbox: the predictions that the neighbour is still to be sent.
        timing: the interval of heartbeats, and how long one frame may take.
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
        self.newest = -1  # the newest round that has arrived over this stream
        self.heard = asyncio.Event()  # a frame has arrived
        # Acknowledgements are counted, not queued, so a neighbour that does not read fills no memory.
        self._beat: Heartbeat | None = None  # the newest one that waits to be sent
        self._owed = 0  # acknowledgements still to be sent
        self._goodbye: Goodbye | None = None
        self._sending_since: float | None = None  # when the frame that is being sent was begun
        self._wake = asyncio.Event()

    @property
    def id(self) -> int:
        return self.hello.id

    def send_soon(self, frame: Heartbeat | Goodbye) -> None:
        """Send a heartbeat before all other frames, or a goodbye after them. A newer one replaces one that waits."""
        if isinstance(frame, Goodbye):
            self._goodbye = frame
        else:
            probes = frame.probe or (self._beat is not None and self._beat.probe)
            self._beat = replace(frame, probe=probes)
        self._wake.set()

    def acknowledge(self) -> None:
        """Send one more acknowledgement. It names the newest round that has arrived."""
        self._owed += 1
        self._wake.set()

    def is_stalled(self, now: float) -> bool:
        """Whether sending one frame has taken `timing.send_within` seconds: the neighbour seems to read nothing."""
        return self._sending_since is not None and now - self._sending_since >= self._timing.send_within

    def publish(self, frame: SoftPredictions) -> int:
        """Put predictions into the outbox; return how many waiting ones they replace."""
        self._wake.set()
        return self.outbox.put(frame)

    def acked(self) -> bool:
        """Note an acknowledgement of predictions; return whether any were in flight."""
        self._wake.set()
        return self.outbox.acked(self._clock())

    async def write(self, heartbeat: Callable[[], Heartbeat], sent: Callable[[SoftPredictions], None]) -> None:
        """Send all frames, and a heartbeat at each interval, until the stream ends or a goodbye is sent.

        Args:
            heartbeat: makes a heartbeat.
            sent: called after predictions have been passed to the network.
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
        """The next frame to send, None if there is nothing; a goodbye comes only once the outbox is empty."""
        if (beat := self._beat) is not None:
            self._beat = None
            return beat
        if self._owed:
            self._owed -= 1
            return Ack(round=max(self.newest, 0))
        predictions = self.outbox.take(self._clock())
        return self._goodbye if predictions is None and self.outbox.empty else predictions
