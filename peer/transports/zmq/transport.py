"""Frames over ZeroMQ: one ROUTER socket to listen, and one DEALER socket for each dialled stream.

The resources that a stranger can use are bounded:

- before its handshake has succeeded, only libzmq keeps state for it;
- `BACKLOG` limits the connections that wait to be accepted;
- `HANDSHAKE_WITHIN` limits the seconds of a handshake;
- `MAX_STRANGERS` limits the connections without a stream, and so does the number of files of the process;
- MAXMSGSIZE limits the bytes of each part of a message;
- `WINDOW` limits the messages that a stream keeps.

libzmq does not limit the number of parts of a message, and keeps all parts until the last one has arrived. With keys,
only peers of the group can send such a message. If strangers can reach the port, use keys or gRPC.
"""

import asyncio
from pathlib import Path

import zmq

from edgekd.errors import TransientError
from edgekd.protocol.holders import Holder
from peer.transports.base import Accept, Stream
from peer.transports.binding import check_bindable
from peer.transports.revoked import RevokedKeys
from peer.transports.zmq.dialling import dial
from peer.transports.zmq.keys import CurveKeys
from peer.transports.zmq.listening import Listener
from peer.transports.zmq.streams import ZmqStream

MAX_SOCKETS = 4096  # of a transport; each dialled stream has three


class ZmqTransport:
    """A `Transport` over ZeroMQ. With keys it is encrypted with CURVE and admits only the group's peers and observers.

    Args:
        max_message_bytes: the length of the longest message to send or receive. A longer one is refused as "oversized".
            A message of more than twice this length ends its stream before it is read.
        keys: the folder of keys (see `peer/transports/zmq/keys.py`); None: no encryption and no authentication.

    Raises:
        ConfigError: a file is missing in the folder, or its list of revoked keys is invalid; the message names it.
    """

    def __init__(self, max_message_bytes: int, keys: Path | None = None) -> None:
        self._max, self._keys = max_message_bytes, None if keys is None else CurveKeys(keys)
        self._revoked = RevokedKeys(keys)
        self._context = zmq.Context()
        self._context.max_sockets = MAX_SOCKETS
        self._listener: Listener | None = None
        self._streams: set[ZmqStream] = set()

    async def listen(self, address: str, accept: Accept) -> str:
        check_bindable(address)
        try:
            return await self._listen(address, accept)
        except zmq.ZMQError as error:  # no OSError, though there may be no file left for one more socket
            raise TransientError(f"cannot listen on {address}: {error.strerror}") from error

    async def _listen(self, address: str, accept: Accept) -> str:
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

    def revoked(self) -> frozenset[Holder]:
        return self._revoked.current()

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.stop()
        await asyncio.gather(*(stream.close() for stream in self._streams))
        if self._listener is not None:
            await self._listener.close()
        self._context.destroy(linger=0)  # waits until ZeroMQ's thread has released every port
