"""The two ends of a gRPC call as `peer.transports.base.Stream`s.

gRPC handles messages as raw bytes, and `receive` parses them. So an invalid frame can be refused and counted without
ending the stream.
"""

import asyncio
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.holders import Holder
from edgekd.protocol.messages import Frame
from peer.transports.base import CLOSE_DEADLINE, StreamClosedError, start
from peer.wire.protobuf import from_bytes, to_bytes

DRAINED = 4  # messages of the largest size that may still arrive after a stream is closed
LAST_WORD = 0.25  # seconds for the dialling side to close, too, after the last frame

# The errors that gRPC raises after a call has ended or was cancelled.
_BROKEN = (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError, asyncio.CancelledError)


class GrpcStream:
    """The common part of the dialled and the accepted end of a gRPC stream.

    gRPC cancels a call if its reader or writer is cancelled. So reading and writing run in their own tasks.

    Args:
        remote: the address of the other side.
        holder: the peer or observer whose key the other side has proven to hold; None: there are no keys.
        call: gRPC's call or servicer context.
        longest: the largest number of bytes of a message. Longer ones are refused.
        open_streams: the set that contains the stream until it is closed.
    """

    def __init__(
        self, remote: str, holder: Holder | None, call: Any, longest: int, open_streams: "set[GrpcStream]"
    ) -> None:
        self.remote, self.holder = remote, holder
        self._call, self._longest, self._open_streams = call, longest, open_streams
        self._ended = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[bytes | None] | None = None
        self._writing: asyncio.Task[bool] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()  # gRPC accepts one message at a time
        open_streams.add(self)

    async def send(self, frame: Frame) -> None:
        data = to_bytes(frame)
        async with self._turn:
            if self._writing is not None:  # the last sender may have been cancelled
                await self._outcome(self._writing)
            if self._ended.done():
                raise self._closed()
            self._writing = start(self._write(data))
            if not await self._outcome(self._writing):
                raise self._closed()

    async def receive(self) -> Frame:
        if self._ended.done():
            raise self._closed()
        if self._reading is None:
            self._reading = start(self._read())
        data = await self._outcome(self._reading)
        if data is None:
            self._begin_close()
            raise self._closed()
        self._reading = None
        if len(data) > self._longest:
            raise RemoteProtocolError("oversized", f"a frame is at most {self._longest} bytes, got {len(data)}")
        return from_bytes(data)

    async def close(self) -> None:
        await asyncio.shield(self._begin_close())

    async def _outcome(self, work: "asyncio.Task[Any]") -> Any:
        """The result of `work`, unless the stream ends first."""
        if not self._ended.done():
            await asyncio.wait({work, self._ended}, return_when=asyncio.FIRST_COMPLETED)
        if self._ended.done():
            raise self._closed()
        return work.result()

    async def _read(self) -> bytes | None:
        """The next message; None: the call has ended."""
        try:
            data = await self._call.read()
        except _BROKEN:
            return None
        return None if data is grpc.aio.EOF else data

    async def _write(self, data: bytes) -> bool:
        try:
            await self._call.write(data)
        except _BROKEN:
            return False
        return True

    def _begin_close(self) -> "asyncio.Task[None]":
        if self._closing is None:
            self._ended.set_result(None)
            self._closing = start(self._close())
        return self._closing

    def _closed(self) -> StreamClosedError:
        return StreamClosedError(f"the stream to {self.remote} has ended")

    async def _close(self) -> None:
        finishing = start(self._finish())
        await asyncio.wait({finishing}, timeout=CLOSE_DEADLINE)
        await self._abandon()
        for task in (finishing, self._reading, self._writing):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        self._open_streams.discard(self)
        self._call = None  # gRPC keeps a connection while anyone refers to its call

    async def _drain(self) -> None:
        """Read and drop messages until the call ends, or until there are more than can have been in flight."""
        left = DRAINED * self._longest
        while left > 0:
            self._reading = self._reading or start(self._read())
            await asyncio.wait({self._reading})
            if (data := self._reading.result()) is None:
                return
            self._reading, left = None, left - len(data)

    async def _finish(self) -> None:
        """Deliver what was sent, and tell the other side that the stream ends."""
        raise NotImplementedError

    async def _abandon(self) -> None:
        """Release the call, finished or not."""
        raise NotImplementedError


class DialledStream(GrpcStream):
    """The end of the dialling side. The channel belongs to this stream only."""

    def __init__(
        self,
        address: str,
        holder: Holder | None,
        channel: Any,
        call: Any,
        longest: int,
        open_streams: set[GrpcStream],
    ) -> None:
        super().__init__(address, holder, call, longest, open_streams)
        self._channel = channel

    async def _finish(self) -> None:
        if self._writing is not None:
            await asyncio.wait({self._writing})
        try:
            await self._call.done_writing()
        except _BROKEN:
            return
        await self._drain()  # the other side's status comes after its last message

    async def _abandon(self) -> None:
        await hang_up(self._channel, self._call)
        self._channel = None


class AcceptedStream(GrpcStream):
    """The end of the listening side. The handler of the call returns when `over` is set."""

    def __init__(self, context: Any, holder: Holder | None, longest: int, open_streams: set[GrpcStream]) -> None:
        super().__init__(remote(context), holder, context, longest, open_streams)
        self.over = asyncio.Event()  # when it is set, gRPC sends the status after all written messages
        self._status_sent = asyncio.Event()
        context.add_done_callback(lambda _: self._status_sent.set())

    async def _finish(self) -> None:
        if self._writing is not None:
            await asyncio.wait({self._writing})
        # If a status crosses a message of the other side, gRPC drops on that side what was not read yet, such as the
        # Goodbye. So let the other side close first, which it does after it has read the Goodbye.
        draining = start(self._drain())
        await asyncio.wait({draining}, timeout=LAST_WORD)
        self.over.set()
        await self._status_sent.wait()
        await asyncio.wait({draining})

    async def _abandon(self) -> None:
        self.over.set()  # if the other side does not read, gRPC keeps the call until the connection ends


def remote(context: Any) -> str:
    """The address from which a call comes."""
    return unquote(context.peer()).partition(":")[2]


async def hang_up(channel: Any, call: Any) -> None:
    """Cancel `call` if it is not done, and close its channel."""
    call.cancel()
    await call.code()
    await channel.close()
