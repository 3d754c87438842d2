"""One stream between two peers after both Hellos: what is sent over it, in which order."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from edgekd.protocol.encodings import Packing
from edgekd.protocol.messages import Frame, Goodbye, Heartbeat, Hello, SoftPredictions
from edgekd.protocol.outbox import Outbox
from peer.transports.base import Stream, StreamClosedError


class Connection:
    """The sending half of a stream, and what is known of its other end.

    Args:
        stream: open, Hellos exchanged.
        hello: the neighbour's.
        dialled_by: the id of the side that dialled.
        packing: of what it is sent: one that it can read.
        outbox: predictions for it.
        heartbeat_every: seconds between two heartbeats.
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
        heartbeat_every: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream, self.hello, self.dialled_by = stream, hello, dialled_by
        self.packing, self.outbox = packing, outbox
        self._heartbeat_every, self._clock = heartbeat_every, clock
        self.newest = -1  # the newest round that has arrived over it
        self.heard = asyncio.Event()  # something came
        self._control: list[Frame] = []  # sent before predictions; a goodbye is always the last
        self._wake = asyncio.Event()

    @property
    def id(self) -> int:
        return self.hello.id

    def send_soon(self, frame: Frame) -> None:
        """Have a frame other than predictions sent; a goodbye follows the emptied outbox."""
        if isinstance(frame, Heartbeat):  # only the newest is news, and a neighbour that does not read gets no queue
            self._control = [waiting for waiting in self._control if not isinstance(waiting, Heartbeat)]
        last = len(self._control)
        if self._control and isinstance(self._control[-1], Goodbye):
            last -= 1
        self._control.insert(last, frame)
        self._wake.set()

    def publish(self, frame: SoftPredictions) -> int:
        """Have predictions sent when their turn comes; how many that still waited they take the place of."""
        self._wake.set()
        return self.outbox.put(frame)

    def acked(self) -> bool:
        """The neighbour has one more of the predictions in flight; whether there were any."""
        self._wake.set()
        return self.outbox.acked()

    async def write(self, heartbeat: Callable[[], Heartbeat], sent: Callable[[SoftPredictions], None]) -> None:
        """Send what there is to send, and a heartbeat at its interval, until the stream ends or a goodbye is sent.

        Args:
            heartbeat: makes one.
            sent: called after predictions have been handed to the network.
        """
        beat_at = self._clock() + self._heartbeat_every
        try:
            while True:
                while (frame := self._next()) is not None:
                    await self.stream.send(frame)
                    if isinstance(frame, SoftPredictions):
                        sent(frame)
                    elif isinstance(frame, Goodbye):
                        return
                self._wake.clear()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), max(0.0, beat_at - self._clock()))
                if (now := self._clock()) >= beat_at:
                    beat_at = now + self._heartbeat_every
                    self.send_soon(heartbeat())
        except StreamClosedError:
            pass
        finally:
            await self.stream.close()

    def _next(self) -> Frame | None:
        if self._control and not isinstance(self._control[0], Goodbye):
            return self._control.pop(0)
        predictions = self.outbox.take()
        if predictions is None and self._control and self.outbox.empty:
            return self._control.pop(0)
        return predictions
