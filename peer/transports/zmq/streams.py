"""One end of a stream over ZeroMQ, dialled or accepted: what is said on it, and who may say how much.

A connection begins with `OPENING` each way, the dialling side's first. Then every message, of one part, is a frame as
`peer/wire/messagepack.py` writes it, or one of two words, which are no frames:

- `MORE`: the other side has read `GRANT` frames, so that many more may be on their way. At first `WINDOW` may. So a
  receiver that does not read holds up its own sender and nobody else, and costs `WINDOW` messages of memory at most.
  ZeroMQ's own high-water mark would hold up all streams of a listening socket, or drop.
- `END`: no frames come after it. It is answered with `END`, unless that was said already. So a stream that closes knows
  when all that it sent has arrived.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import zmq

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.messages import Frame
from peer.transports.base import CLOSE_DEADLINE, StreamClosedError, start
from peer.wire.messagepack import from_bytes, to_bytes

OPENING, MORE, END = b"edgekd.v1.Peer", b"more", b"end"
WINDOW, GRANT = 8, 4  # frames


class ZmqStream:
    """A `Stream`; whoever reads the socket calls `take` and `lose`.

    Args:
        remote: the other side's address.
        peer_id: of whom its key has proved to be; None: there are no keys.
        max_message_bytes: longest message that is sent; a longer one that comes is refused.
        post: hands a message to ZeroMQ, without waiting; raises zmq.ZMQError if it does not take it.
        let_go: ends the connection.
        open_streams: where the stream is to be found until it is closed.
    """

    def __init__(
        self,
        remote: str,
        peer_id: int | None,
        max_message_bytes: int,
        *,
        post: Callable[[bytes], None],
        let_go: Callable[[], None],
        open_streams: "set[ZmqStream]",
    ) -> None:
        self.remote, self.peer_id = remote, peer_id
        self._max, self._post_it, self._let_go, self._open_streams = max_message_bytes, post, let_go, open_streams
        self._arrived: deque[bytes] = deque()
        self._read = 0  # frames since the last grant
        self._room = WINDOW  # frames that the other side has still room for
        self._said_end = self._heard_end = False
        self._closing: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        open_streams.add(self)

    async def send(self, frame: Frame) -> None:
        data = to_bytes(frame)
        while not self._room and not self._said_end:
            await self._wait_for_news()
        if len(data) > self._max:
            self._break_off()
        if self._said_end or not self._post(data):
            raise self._closed()
        self._room -= 1

    async def receive(self) -> Frame:
        while not self._arrived:
            if self._heard_end or self._closing:
                raise self._closed()
            await self._wait_for_news()
        data = self._arrived.popleft()
        self._read += 1
        if self._read == GRANT and not self._heard_end:
            self._read = 0
            self._post(MORE)
        if len(data) > self._max:
            raise RemoteProtocolError("oversized", f"a frame is at most {self._max} bytes, got {len(data)}")
        return from_bytes(data)

    async def close(self) -> None:
        if self._closing is None:
            self._closing = start(self._close())
        await asyncio.shield(self._closing)

    def take(self, message: bytes) -> None:
        """Something has come from the other side."""
        if self._heard_end:
            return
        if message == END:
            self._heard_end = True
            self._say_end()
        elif message == MORE:
            self._room += GRANT
            if self._room > WINDOW:  # it grants what it cannot have read
                self._break_off()
        elif len(self._arrived) + self._read >= WINDOW:
            self._break_off()
        elif not self._closing:
            self._arrived.append(message)
        self._news.set()

    def lose(self) -> None:
        """The connection is gone; what has arrived is still to be read."""
        self._said_end = self._heard_end = True
        self._news.set()

    async def _wait_for_news(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _post(self, message: bytes) -> bool:
        """Whether ZeroMQ has taken it: else the connection is gone, or the other side grants and does not read."""
        try:
            self._post_it(message)
        except zmq.ZMQError:
            self._break_off()
            return False
        return True

    def _say_end(self) -> None:
        if not self._said_end:
            self._said_end = True
            self._post(END)

    def _break_off(self) -> None:
        """End the stream without a word, since the other side does not keep to the rules or is not there."""
        self.lose()
        self._let_go()

    def _closed(self) -> StreamClosedError:
        return StreamClosedError(f"the stream to {self.remote} has ended")

    async def _close(self) -> None:
        self._arrived.clear()
        self._read = 0
        self._say_end()
        self._news.set()
        answer = start(self._until_end())
        await asyncio.wait({answer}, timeout=CLOSE_DEADLINE)
        answer.cancel()
        self.lose()
        self._let_go()
        self._open_streams.discard(self)

    async def _until_end(self) -> None:
        while not self._heard_end:
            await self._wait_for_news()
