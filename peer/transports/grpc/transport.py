"""Frames over gRPC: one bidirectional stream for each pair of peers, and the standard health service."""

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from edgekd.errors import TransientError
from edgekd.printable import LONGEST_WHY, printable
from edgekd.protocol.addresses import format_address, parse_address, place
from edgekd.protocol.holders import Holder
from peer.network.news import News
from peer.transports.base import CLOSE_DEADLINE, Accept, Accepting, Stream
from peer.transports.binding import check_bindable
from peer.transports.files import most_connections
from peer.transports.greeting import NO_PEER, Greeting
from peer.transports.grpc import tls as grpc_tls
from peer.transports.grpc.handshake import refusal
from peer.transports.grpc.health import HealthService
from peer.transports.grpc.keys import KeyFiles
from peer.transports.grpc.streams import AcceptedStream, DialledStream, GrpcStream, hang_up, remote
from peer.transports.resolving import CLOSED_AT_ONCE, LookUpError, why_host_unreachable
from peer.transports.revoked import RevokedKeys
from peer.wire import peer_pb2

SERVICE = peer_pb2.DESCRIPTOR.services_by_name["Peer"].full_name
IDENTITY = ("edgekd-service", SERVICE)  # in the headers of a peer's answer; see peer.proto
MOST_STREAMS = 8  # of a connection; a peer has one
STOP_GRACE = 1.5 * CLOSE_DEADLINE  # seconds until remaining calls are cancelled

_KEEPALIVE = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]
_CLIENT = [
    *_KEEPALIVE,
    ("grpc.use_local_subchannel_pool", 1),  # else a dial shares connection and backoff with the one before
    ("grpc.initial_reconnect_backoff_ms", 200),  # as in `edgekd/protocol/timing.py`
    ("grpc.max_reconnect_backoff_ms", 3_000),
    ("grpc.enable_retries", 0),  # frames are never sent twice
    ("grpc.enable_http_proxy", 0),  # peers are on the local network
    ("grpc.service_config_disable_resolution", 1),  # saves a DNS query
]
_SERVER = [
    *_KEEPALIVE,
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),  # else clients get too_many_pings
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.server_handshake_timeout_ms", 5_000),  # else a silent connection is kept for two minutes
    ("grpc.http2.bdp_probe", 0),  # else a fast sender gets megabytes; with this, 64 kB a connection
    ("grpc.max_concurrent_streams", MOST_STREAMS),
    ("grpc.max_connection_idle_ms", 5_000),  # a connection without a stream
    ("grpc.so_reuseport", 0),  # else two peers on one port would share the incoming streams
]
# Words in gRPC's own messages about a broken connection, which are replaced by the operating system's message.
_GRPCS_OWN = ("recvmsg", "sendmsg", "getsockopt", "Socket closed", "Endpoint closing")


class GrpcTransport:
    """A `Transport` over gRPC: with keys over mutual TLS, without keys unencrypted.

    Args:
        max_message_bytes: the length of the longest message to send or receive. A longer one is refused as "oversized".
            A message of more than twice this length ends its stream before it is read.
        keys: this peer's folder of keys (see `edgekd.keys.keyring`). Changed keys are used for new connections.

    Raises:
        ConfigError: a key is missing, unreadable or expired, the keys do not match, or the list of revoked keys cannot
            be read.
    """

    def __init__(self, max_message_bytes: int, keys: Path | None = None) -> None:
        self._keys = KeyFiles(keys) if keys else None
        self._revoked = RevokedKeys(keys)
        self._news = News()
        self._max_message_bytes = max_message_bytes
        self._limits = [
            ("grpc.max_receive_message_length", 2 * max_message_bytes),  # gRPC does not report why it ends a stream
            ("grpc.max_send_message_length", max_message_bytes),
        ]
        self._server: Any = None
        self._accept: Accept | None = None
        self._streams: set[GrpcStream] = set()
        self._accepting = Accepting()

    async def listen(self, address: str, accept: Accept) -> str:
        host, _ = parse_address(address)
        check_bindable(address)
        connections = ("grpc.max_allowed_incoming_connections", most_connections())
        server = grpc.aio.server(options=[*_SERVER, *self._limits, connections])
        exchange = grpc.method_handlers_generic_handler(
            SERVICE, {"Exchange": grpc.stream_stream_rpc_method_handler(self._exchange)}
        )
        health = HealthService()
        await health.serving(SERVICE)
        server.add_generic_rpc_handlers((exchange, health.handler()))
        try:
            if self._keys is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, grpc_tls.listening(self._keys))
        except RuntimeError as error:  # the port was taken after the check
            why = str(error).partition("; set GRPC_VERBOSITY")[0]  # the rest is advice for developers
            raise TransientError(f"cannot listen on {address}: {why}") from error
        self._accept, self._server = accept, server
        await server.start()
        return format_address(host, port)

    async def dial(self, address: str, *, timeout: float) -> Stream:
        id, address = place(address)
        if self._keys is not None and id is None:
            raise ConnectionError(f"cannot reach {address}: with keys say which peer is there, ID@{address}")
        channel, deadline = self._channel(address, id), time.monotonic() + timeout
        call = channel.stream_stream(f"/{SERVICE}/Exchange")()
        try:
            error = await asyncio.wait_for(_no_answer(call, address), timeout)
        except asyncio.TimeoutError:
            error = TimeoutError(f"cannot reach {address}: no answer within {timeout:g} s")
        except BaseException:
            await hang_up(channel, call)
            raise
        if error is None:
            holder = id if self._keys else None
            return DialledStream(address, holder, channel, call, self._max_message_bytes, self._streams)
        await hang_up(channel, call)
        del channel, call  # else the traceback of the error refers to them, and gRPC goes on connecting
        if isinstance(error, _UnavailableError):
            why = await refusal(address, id, self._keys, timeout=deadline - time.monotonic())
            if why is not None:
                error = ConnectionError(f"cannot reach {address}: {why}")
            else:
                error = await _in_the_systems_words(error, address, timeout=deadline - time.monotonic())
        raise error

    def revoked(self) -> frozenset[Holder]:
        return self._revoked.current()

    async def close(self) -> None:
        closing = [stream.close() for stream in self._streams]
        if self._server is not None:
            closing.append(self._server.stop(STOP_GRACE))  # accepts no new calls from now on
        await asyncio.gather(*closing)
        await self._accepting.finish()

    def _channel(self, address: str, id: int | None) -> Any:
        options = [*_CLIENT, *self._limits]
        if self._keys is None:
            return grpc.aio.insecure_channel(_target(address), options=options)
        assert id is not None
        credentials = grpc_tls.dialling(self._keys.current())
        return grpc.aio.secure_channel(_target(address), credentials, options=[*options, grpc_tls.only(id)])

    async def _exchange(self, _: Any, context: Any) -> None:
        holder = None
        if self._keys is not None and (holder := grpc_tls.proven(context.auth_context())) is None:
            await self._refuse(context)
        try:
            await context.send_initial_metadata((IDENTITY,))
        except grpc.aio.BaseError:  # the caller has disconnected
            return
        stream = AcceptedStream(context, holder, self._max_message_bytes, self._streams)
        assert self._accept is not None
        self._accepting.add(self._accept, stream)
        await stream.over.wait()

    async def _refuse(self, context: Any) -> None:
        """End a call whose certificate is signed by the right authority but names no peer and no observer."""
        host = remote(context).rpartition(":")[0]
        message = f"refused somebody at {host}: its certificate names no peer, as peer-ID.edgekd"
        self._news.say(host, logging.WARNING, message, time.monotonic())
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this certificate names no peer, as peer-ID.edgekd")


class _UnavailableError(ConnectionError):
    """gRPC's status UNAVAILABLE: there is no connection, perhaps because of keys, or a server sent this status."""


async def _in_the_systems_words(error: _UnavailableError, address: str, *, timeout: float) -> OSError:
    """The error with the operating system's message; `error` itself if a connection is possible now, or time is up."""
    try:
        why = await asyncio.wait_for(why_host_unreachable(*parse_address(address)), timeout)
    except LookUpError as unknown:
        return type(unknown)(f"cannot reach {address}: {unknown}")
    except asyncio.TimeoutError:
        return error
    if why == CLOSED_AT_ONCE and not any(word in str(error) for word in _GRPCS_OWN):
        return error
    return ConnectionError(f"cannot reach {address}: {why}")


def _target(address: str) -> str:
    """An address in gRPC's form. The scheme ``dns`` is needed, since a host may be called ``unix``, another scheme."""
    host, _ = parse_address(address)
    return address if ":" in host else f"dns:///{address}"


async def _no_answer(call: Any, address: str) -> OSError | None:
    """Wait for the headers that a peer sends at once; return the error if the call ends without them."""
    if IDENTITY in tuple(await call.initial_metadata() or ()):
        return None
    code = await call.code()
    if code in (grpc.StatusCode.OK, grpc.StatusCode.UNIMPLEMENTED):
        return ConnectionError(f"cannot reach {address}: {NO_PEER}")
    details = await call.details() or code.name
    if "http2 header with status" in details:  # in gRPC's words: a web server that speaks HTTP/2
        return ConnectionError(f"cannot reach {address}: {Greeting.OTHER.value}")
    # The text may come from a stranger: a listener can answer with any code and text. So show it, but never parse it.
    why = printable(details.rpartition("last error: ")[2].rpartition("remote host: ")[2], LONGEST_WHY)
    kind = _UnavailableError if code is grpc.StatusCode.UNAVAILABLE else ConnectionError
    return kind(f"cannot reach {address}: {why}")
