"""Frames over ZeroMQ: ROUTER where a peer listens, a DEALER socket for each stream that it dials.

What a stranger can cost: until its handshake has succeeded nothing is set aside for it but what libzmq itself keeps of
a connection. `BACKLOG` bounds the connections that wait to be accepted, `HANDSHAKE_WITHIN` the seconds that a handshake
may take, `MAX_STRANGERS` the connections that have not opened a stream, the longest message (MAXMSGSIZE) what each
part of a message may hold, and `WINDOW` the messages that a stream keeps. One thing libzmq does not bound: a message of
endlessly many parts, which it keeps until the last one. With keys only the group's own peers get so far; where
strangers can reach the port, use keys or gRPC.
"""

import asyncio
from pathlib import Path

import zmq

from peer.transports.base import Accept, Stream
from peer.transports.binding import check_bindable
from peer.transports.zmq.dialling import dial
from peer.transports.zmq.keys import CurveKeys
from peer.transports.zmq.listening import Listener
from peer.transports.zmq.streams import ZmqStream

MAX_SOCKETS = 4096  # of a transport; each stream that it dials has three


class ZmqTransport:
    """A `Transport` over ZeroMQ; with keys, encrypted by CURVE and open to the group's peers alone.

    Args:
        max_message_bytes: longest message that is sent or received. A longer one is refused as "oversized"; one of more
            than twice as long ends its stream, before it has been read.
        keys: folder of keys (see `peer/transports/zmq/keys.py`); None: no encryption, and nobody proves who it is.

    Raises:
        ConfigError: the folder lacks a file; the message names it.
    """

    def __init__(self, max_message_bytes: int, keys: Path | None = None) -> None:
        self._max, self._keys = max_message_bytes, None if keys is None else CurveKeys(keys)
        self._context = zmq.Context()
        self._context.max_sockets = MAX_SOCKETS
        self._listener: Listener | None = None
        self._streams: set[ZmqStream] = set()

    async def listen(self, address: str, accept: Accept) -> str:
        check_bindable(address)
        listener = Listener(self._context, self._max, self._keys, accept, self._streams)
        try:
            bound = await listener.bind(address)
        except BaseException:
            await listener.close()
            raise
        self._listener = listener
        return bound

    async def dial(self, address: str, *, timeout: float) -> Stream:
        return await dial(
            self._context,
            address,
            timeout=timeout,
            max_message_bytes=self._max,
            keys=self._keys,
            open_streams=self._streams,
        )

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.stop()
        await asyncio.gather(*(stream.close() for stream in self._streams))
        if self._listener is not None:
            await self._listener.close()
        self._context.destroy(linger=0)  # waits until ZeroMQ's thread has let go of every port
