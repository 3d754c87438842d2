"""The dialling side of ZeroMQ: each stream has its own DEALER socket with one connection."""

import asyncio
import contextlib
from typing import Any

import zmq

from edgekd.errors import ConfigError
from edgekd.protocol.addresses import format_address, parse_address, place
from peer.transports.base import start
from peer.transports.greeting import NO_PEER, Greeting, greeting
from peer.transports.resolving import Address, LookUpError, resolve, why_unreachable
from peer.transports.zmq.keys import CurveKeys
from peer.transports.zmq.sockets import (
    BATCH,
    EVENTS,
    MISMATCH,
    Inlet,
    drained,
    endpoint,
    event_of,
    make_socket,
)
from peer.transports.zmq.streams import OPENING, ZmqStream


async def dial(
    context: Any,
    address: str,
    *,
    timeout: float,
    max_message_bytes: int,
    keys: CurveKeys | None,
    open_streams: set[ZmqStream],
) -> ZmqStream:
    """Open a stream to the peer at "HOST:PORT", or with keys at "ID@HOST:PORT".

    Args:
        timeout: seconds.

    Raises:
        OSError: there is no answer, what answers is not a peer, or a key is not accepted.
    """
    id, where = place(address)
    if keys is not None and id is None:
        raise ConnectionError(f"cannot reach {where}: with keys it must be said whose to ask for: write ID@{where}")
    host, port = parse_address(where)
    try:
        return await asyncio.wait_for(
            _dial(context, where, host, port, id, max_message_bytes, keys, open_streams), timeout
        )
    except asyncio.TimeoutError:
        raise TimeoutError(f"cannot reach {where}: no answer within {timeout:g} s") from None


async def _dial(
    context: Any,
    address: str,
    host: str,
    port: int,
    id: int | None,
    max_message_bytes: int,
    keys: CurveKeys | None,
    open_streams: set[ZmqStream],
) -> ZmqStream:
    try:
        candidates = await resolve(host, port)
    except LookUpError as error:
        raise type(error)(f"cannot reach {address}: {error}") from error
    failure: OSError | None = None
    for candidate in candidates:
        line = None
        try:
            line = _Line(context, max_message_bytes)
            if keys is not None and id is not None:
                line.use(keys, id)
            await line.connect(candidate, keys, id)
            return line.stream(address, id if keys is not None else None, max_message_bytes, open_streams)
        except (OSError, zmq.ZMQError) as error:  # zmq.ZMQError: there are no more sockets
            kind = ConnectionRefusedError if isinstance(error, ConnectionRefusedError) else ConnectionError
            failure = failure or kind(f"cannot reach {address}: {error}")
            if line is not None:
                line.hang_up()
        except BaseException:
            if line is not None:
                line.hang_up()
            raise
    assert failure is not None
    raise failure


class _Line:
    """One connection of the dialling side."""

    def __init__(self, context: Any, max_message_bytes: int) -> None:
        self._dealer = make_socket(context, zmq.DEALER, max_message_bytes)
        self._monitor = self._dealer.get_monitor_socket(EVENTS)
        self._messages = Inlet(self._dealer, self._take_messages)
        self._events = Inlet(self._monitor, self._take_events)
        self._happened: asyncio.Queue[tuple[int, int]] = asyncio.Queue()  # before the first message
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()  # the first message
        self._stream: ZmqStream | None = None

    def use(self, keys: CurveKeys, id: int) -> None:
        """Present this peer's key, and accept only the key of peer `id`."""
        try:
            own, theirs = keys.own(), keys.of(id)
        except ConfigError as error:  # can be repaired while the peer runs
            raise ConnectionError(str(error)) from error
        self._dealer.curve_serverkey = theirs
        self._dealer.curve_publickey, self._dealer.curve_secretkey = own.public, own.secret

    async def connect(self, where: Address, keys: CurveKeys | None, id: int | None) -> None:
        """Connect, and wait until a peer answers."""
        self._dealer.ipv6 = ":" in where[0]
        self._dealer.connect(endpoint(where))
        while (happened := await self._happened.get())[0] != zmq.EVENT_HANDSHAKE_SUCCEEDED:
            if happened[0] == zmq.EVENT_CLOSED:
                raise ConnectionError(await why_unreachable(where))
            raise ConnectionRefusedError(await _other(where) or _why_refused(*happened, keys, id))
        with contextlib.suppress(zmq.ZMQError):  # the connection has broken; the next event reports it
            self._messages.post([OPENING])
        lost = start(self._happened.get())
        try:
            await asyncio.wait({self._answer, lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if lost.done():
                self._happened.put_nowait(lost.result())  # for `stream`
            lost.cancel()
        if not self._answer.done() or self._answer.result() != OPENING:
            raise ConnectionError(f"{NO_PEER}, or one that is about to end")

    def stream(
        self, address: str, holder: int | None, max_message_bytes: int, open_streams: set[ZmqStream]
    ) -> ZmqStream:
        """Make the stream over this connection."""
        self._stream = ZmqStream(
            address,
            holder,
            max_message_bytes,
            post=lambda message: self._messages.post([message]),
            let_go=self.hang_up,
            open_streams=open_streams,
        )
        self._take_messages()
        if not self._happened.empty():  # the connection has broken
            self._stream.lose()
        return self._stream

    def hang_up(self) -> None:
        """End the connection in any state. Idempotent."""
        if not self._dealer.closed:
            self._dealer.disable_monitor()
        self._events.close()
        self._messages.close()

    def _take_messages(self) -> None:
        if self._stream is None and self._answer.done():
            return  # the next messages are for the stream, which is being made
        for first, *more in drained(self._dealer, BATCH):
            message = b"" if more else first.bytes  # messages of peers have one part
            if self._stream is None:
                self._answer.set_result(message)
                return
            self._stream.take(message)

    def _take_events(self) -> None:
        for parts in drained(self._monitor):
            event = event_of(parts)
            if self._stream is None:
                self._happened.put_nowait(event)
            elif event[0] == zmq.EVENT_DISCONNECTED:
                self._take_messages()
                self._stream.lose()


def _why_refused(event: int, value: int, keys: CurveKeys | None, id: int | None) -> str:
    """Explain a failed handshake."""
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return f"peer {id} does not admit this peer's key; copy this peer's public key to its folder curve/"
    if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and value == MISMATCH:
        return "this peer uses keys and that one does not" if keys else "that peer uses keys and this one does not"
    if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL and keys is not None:
        other = "uses none, or another --transport, or is no edgekd peer"
        return f"what listens there does not hold the key of peer {id}, {other}"
    return f"{NO_PEER} that speaks ZeroMQ, or one that uses keys"


async def _other(where: Address) -> str | None:
    """A line about what listens there, if it does not use ZeroMQ; None: it does, or it is unknown."""
    found = await greeting(format_address(*where[:2]))
    return found.value if found in (Greeting.HTTP2, Greeting.OTHER) else None
