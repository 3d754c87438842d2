"""One end of a stream over ZeroMQ, dialled or accepted: its messages and its flow control.

A connection begins with an `OPENING` from each side; the dialling side sends it first. Every later message has one
part. It is a frame in MessagePack (`peer/wire/messagepack.py`), or one of two control messages:

- `MORE`: the receiver has read `GRANT` frames, so the sender may send as many more. At the start it may send `WINDOW`
  frames. So a receiver that does not read blocks only its own sender, and needs memory for at most `WINDOW` messages.
  ZeroMQ's high-water mark would block all streams of a listening socket, or drop messages.
- `END`: the sender sends no more frames. The other side answers with `END`, unless it has sent one. So a closing stream
  knows when everything that it sent has arrived.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import zmq

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.holders import Holder
from edgekd.protocol.messages import Frame
from peer.transports.base import CLOSE_DEADLINE, StreamClosedError, start
from peer.wire.messagepack import from_bytes, to_bytes

OPENING, MORE, END = b"edgekd.v1.Peer", b"more", b"end"
WINDOW, GRANT = 8, 4  # frames


class ZmqStream:
    """A `Stream`. The owner of the socket calls `take` with its messages, and `lose` when the connection ends.

    Args:
        remote: the address of the other side.
        holder: the peer or observer whose key the other side has proven to hold; None: there are no keys.
        max_message_bytes: the length of the longest message to send. A longer one that arrives is refused.
        post: passes a message to ZeroMQ without waiting; raises zmq.ZMQError if ZeroMQ does not accept it.
        let_go: ends the connection.
        open_streams: the set that contains the stream until it is closed.
    """

    def __init__(
        self,
        remote: str,
        holder: Holder | None,
        max_message_bytes: int,
        *,
        post: Callable[[bytes], None],
        let_go: Callable[[], None],
        open_streams: "set[ZmqStream]",
    ) -> None:
        self.remote, self.holder = remote, holder
        self._max, self._post_it, self._let_go, self._open_streams = max_message_bytes, post, let_go, open_streams
        self._arrived: deque[bytes] = deque()
        self._read = 0  # frames since the last grant
        self._room = WINDOW  # frames that may still be sent before the next grant
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
        """Handle a message from the other side."""
        if self._heard_end:
            return
        if message == END:
            self._heard_end = True
            self._say_end()
        elif message == MORE:
            self._room += GRANT
            if self._room > WINDOW:  # more grants than frames that it can have read
                self._break_off()
        elif len(self._arrived) + self._read >= WINDOW:
            self._break_off()
        elif not self._closing:
            self._arrived.append(message)
        self._news.set()

    def lose(self) -> None:
        """Note that the connection has ended. Frames that have arrived can still be received."""
        self._said_end = self._heard_end = True
        self._news.set()

    async def _wait_for_news(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _post(self, message: bytes) -> bool:
        """Send a message. False: the connection is lost or its queue is full, and the stream ends."""
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
        """End the stream without an `END`, since the other side is gone or has broken the protocol."""
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
