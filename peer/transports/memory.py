"""A transport within one process and one asyncio loop, for tests and for simulated networks."""

import asyncio
import itertools
from collections import deque

from edgekd.errors import ConfigError
from edgekd.protocol.addresses import format_address, parse_address, place
from edgekd.protocol.holders import Holder
from edgekd.protocol.messages import Frame
from peer.transports.base import Accept, Accepting, Stream, StreamClosedError

IN_FLIGHT = 16  # frames in one direction that are not received yet, at most; then `send` waits


class MemoryNetwork:
    """The listeners by address. Transports with the same network can reach one another."""

    def __init__(self) -> None:
        self.listeners: dict[str, MemoryTransport] = {}
        self.free_ports = itertools.count(49152)


class _Pipe:
    """One direction of a stream."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._ended = False
        self._changed = asyncio.Condition()

    async def put(self, frame: Frame) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._ended or len(self._frames) < IN_FLIGHT)
            if self._ended:
                raise StreamClosedError("the stream has ended")
            self._frames.append(frame)
            self._changed.notify_all()

    async def get(self) -> Frame:
        async with self._changed:
            await self._changed.wait_for(lambda: self._ended or bool(self._frames))
            if not self._frames:
                raise StreamClosedError("the stream has ended")
            self._changed.notify_all()
            return self._frames.popleft()

    async def end(self, *, drop: bool) -> None:
        """Accept no more frames. Frames in flight can still be received, unless `drop` is true."""
        async with self._changed:
            self._ended = True
            if drop:
                self._frames.clear()
            self._changed.notify_all()


class _MemoryStream:
    def __init__(self, remote: str, incoming: _Pipe, outgoing: _Pipe, open_streams: "set[_MemoryStream]") -> None:
        self.remote = remote
        self.holder: Holder | None = None
        self._incoming, self._outgoing, self._open_streams = incoming, outgoing, open_streams
        open_streams.add(self)

    async def send(self, frame: Frame) -> None:
        await self._outgoing.put(frame)

    async def receive(self) -> Frame:
        return await self._incoming.get()

    async def close(self) -> None:
        await self._outgoing.end(drop=False)
        await self._incoming.end(drop=True)
        self._open_streams.discard(self)


class MemoryTransport:
    """A `Transport` over a `MemoryNetwork`. Frames are passed as objects, in order."""

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network
        self._accept: Accept | None = None
        self._addresses: list[str] = []
        self._streams: set[_MemoryStream] = set()
        self._accepting = Accepting()

    async def listen(self, address: str, accept: Accept) -> str:
        host, port = parse_address(address)
        bound = format_address(host, port or next(self._network.free_ports))
        if bound in self._network.listeners:
            raise ConfigError(f"cannot listen on {bound}: address in use; stop the other or change the --listen port")
        self._network.listeners[bound] = self
        self._addresses.append(bound)
        self._accept = accept
        return bound

    async def dial(self, address: str, *, timeout: float) -> Stream:
        _, address = place(address)
        listener = self._network.listeners.get(address)
        if listener is None:
            raise ConnectionRefusedError(f"cannot reach {address}: nobody listens there")
        there, back = _Pipe(), _Pipe()
        listener._serve(_MemoryStream("memory", there, back, listener._streams))
        return _MemoryStream(address, back, there, self._streams)

    def _serve(self, stream: _MemoryStream) -> None:
        assert self._accept is not None
        self._accepting.add(self._accept, stream)

    def revoked(self) -> frozenset[Holder]:
        return frozenset()

    async def close(self) -> None:
        for address in self._addresses:
            self._network.listeners.pop(address, None)
        self._addresses.clear()
        for stream in list(self._streams):
            await stream.close()
        await self._accepting.finish()
