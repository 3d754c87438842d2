"""The dialling side of ZeroMQ: one DEALER socket, with one connection, a stream."""

import asyncio
import contextlib
from typing import Any

import zmq
import zmq.asyncio

from edgekd.addresses import address as parse
from edgekd.addresses import place
from edgekd.errors import ConfigError
from peer.zmq_keys import Keys
from peer.zmq_sockets import (
    EVENTS,
    MISMATCH,
    Address,
    drained,
    endpoint,
    event_of,
    make_socket,
    post,
    resolve,
    why_unreachable,
)
from peer.zmq_streams import OPENING, ZmqStream, start


async def dial(
    context: zmq.asyncio.Context,
    address: str,
    *,
    timeout: float,
    max_message_bytes: int,
    keys: Keys | None,
    open_streams: set[ZmqStream],
) -> ZmqStream:
    """Open a stream to the peer that listens on "HOST:PORT", or with keys on "ID@HOST:PORT".

    Args:
        timeout: seconds.

    Raises:
        OSError: nobody answers there, or somebody who is no peer, or a key will not do.
    """
    id, where = place(address)
    if keys is not None and id is None:
        raise ConnectionError(f"cannot reach {where}: with keys it must be said whose to ask for: write ID@{where}")
    host, port = parse(where)
    try:
        return await asyncio.wait_for(
            _dial(context, where, host, port, id, max_message_bytes, keys, open_streams), timeout
        )
    except asyncio.TimeoutError:
        raise TimeoutError(f"cannot reach {where}: no answer within {timeout:g} s") from None


async def _dial(
    context: zmq.asyncio.Context,
    address: str,
    host: str,
    port: int,
    id: int | None,
    max_message_bytes: int,
    keys: Keys | None,
    open_streams: set[ZmqStream],
) -> ZmqStream:
    try:
        candidates = await resolve(host, port)
    except OSError as error:
        raise ConnectionError(f"cannot reach {address}: {error.strerror}") from error
    failure: OSError | None = None
    for candidate in candidates:
        line = _Line(context, max_message_bytes)
        try:
            if keys is not None and id is not None:
                line.use(keys, id)
            await line.connect(candidate, keys, id)
        except OSError as error:
            line.hang_up()
            kind = ConnectionRefusedError if isinstance(error, ConnectionRefusedError) else ConnectionError
            failure = failure or kind(f"cannot reach {address}: {error}")
        except BaseException:
            line.hang_up()
            raise
        else:
            return line.stream(address, id if keys is not None else None, max_message_bytes, open_streams)
    assert failure is not None
    raise failure


class _Line:
    """One connection that is dialled."""

    def __init__(self, context: zmq.asyncio.Context, max_message_bytes: int) -> None:
        self._dealer = make_socket(context, zmq.DEALER, max_message_bytes)
        self._monitor: zmq.asyncio.Socket = self._dealer.get_monitor_socket(EVENTS)
        self._tasks: list[asyncio.Task[Any]] = []

    def use(self, keys: Keys, id: int) -> None:
        """Show this peer's key, and ask for that of peer `id`."""
        try:
            own, theirs = keys.own(), keys.of(id)
        except ConfigError as error:  # to be put right without a stop
            raise ConnectionError(str(error)) from error
        self._dealer.curve_serverkey = theirs
        self._dealer.curve_publickey, self._dealer.curve_secretkey = own.public, own.secret

    async def connect(self, where: Address, keys: Keys | None, id: int | None) -> None:
        """Connect, and have a peer answer."""
        self._dealer.ipv6 = ":" in where[0]
        self._dealer.connect(endpoint(where))
        while (happened := await self._event())[0] != zmq.EVENT_HANDSHAKE_SUCCEEDED:
            if happened[0] == zmq.EVENT_CLOSED:
                raise ConnectionError(await why_unreachable(where))
            raise ConnectionRefusedError(_why_refused(*happened, keys, id))
        await self._dealer.send(OPENING)
        answer, lost = asyncio.ensure_future(self._dealer.recv()), asyncio.ensure_future(self._event())
        try:
            await asyncio.wait({answer, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() or answer.result() != OPENING:
                raise ConnectionError("what listens there is no edgekd peer, or one that is about to end")
        finally:
            answer.cancel()
            lost.cancel()
            await asyncio.wait({answer, lost})

    def stream(
        self, address: str, peer_id: int | None, max_message_bytes: int, open_streams: set[ZmqStream]
    ) -> ZmqStream:
        """The stream over this connection."""
        made = ZmqStream(
            address,
            peer_id,
            max_message_bytes,
            post=lambda message: post(self._dealer, [message]),
            let_go=self.hang_up,
            open_streams=open_streams,
        )
        self._tasks = [start(self._read(made)), start(self._watch(made))]
        return made

    def hang_up(self) -> None:
        """End the connection, whatever it is doing. Idempotent."""
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(zmq.ZMQError):  # it is closed already
            self._dealer.disable_monitor()
        self._monitor.close()
        self._dealer.close()

    async def _event(self) -> tuple[int, int]:
        return event_of(await self._monitor.recv_multipart())

    async def _read(self, stream: ZmqStream) -> None:
        while not self._dealer.closed:
            await self._dealer.poll()
            self._take_messages(stream)

    def _take_messages(self, stream: ZmqStream) -> None:
        for first, *more in drained(self._dealer):
            stream.take(b"" if more else first.bytes)  # a peer's messages have one part: several are no frame

    async def _watch(self, stream: ZmqStream) -> None:
        while (await self._event())[0] != zmq.EVENT_DISCONNECTED:
            pass
        self._take_messages(stream)
        stream.lose()


def _why_refused(event: int, value: int, keys: Keys | None, id: int | None) -> str:
    """What a handshake that failed means."""
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return f"peer {id} does not admit this peer's key; copy this peer's public key to its folder"
    if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and value == MISMATCH:
        return "this peer uses keys and that one does not" if keys else "that peer uses keys and this one does not"
    if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL and keys is not None:
        return f"what listens there does not hold the key of peer {id}, or uses none"
    return "what listens there is no edgekd peer that speaks ZeroMQ, or one that uses keys"
