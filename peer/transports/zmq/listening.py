"""The listening side of ZeroMQ: one ROUTER socket, and a stream for each connection that opens one.

ROUTER gives each connection a name, and tells from which connection a message came. It does not tell when a connection
begins or ends; the monitor of the socket does, and identifies connections by file descriptor. The first message of a
connection links its name and its descriptor. ZeroMQ cannot close a single connection, so `cut` shuts down its socket.

A descriptor is used again as soon as its connection has ended, while messages of that connection may still be unread.
They must not be taken for messages of the next one. ROUTER counts its names up, so of two names with one descriptor
the newer is that of the present connection.
"""

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import Any

import zmq

from edgekd.errors import ConfigError, TransientError
from edgekd.protocol.addresses import format_address, parse_address
from edgekd.protocol.holders import holder
from peer.network.news import News
from peer.transports.base import Accept, Accepting, start
from peer.transports.files import most_connections
from peer.transports.resolving import resolve
from peer.transports.zmq.keys import REQUESTS, CurveKeys, Pair, admission
from peer.transports.zmq.sockets import (
    BATCH,
    EVENTS,
    MISMATCH,
    UNOPENED,
    Inlet,
    cut,
    drained,
    endpoint,
    event_of,
    make_socket,
    remote_of,
)
from peer.transports.zmq.streams import OPENING, ZmqStream

MAX_STRANGERS = 64  # connections without a stream; one more cuts the oldest
BROKEN_OFF = "it broke off the handshake, as peers may that begin at the same time"  # see `why_unreachable`
NEWS_PAUSE = 0.02  # seconds between two reads of new and ended connections
REBIND_PAUSE = 0.02  # seconds between two attempts to listen again


@dataclass(slots=True)
class _Caller:
    """The other end of a connection."""

    remote: str
    identity: bytes = b""  # ROUTER's name for the connection; empty: no message has arrived yet
    stream: ZmqStream | None = None
    is_cut: bool = False


class Listener:
    """Accepts streams.

    Args:
        context: of ZeroMQ, for the sockets.
        max_message_bytes: the length of the longest message to send or receive.
        keys: of this peer and of the peers and observers to admit; None: every caller is admitted.
        accept: awaited with each stream.
        open_streams: the set that contains each stream until it is closed.
    """

    def __init__(
        self,
        context: Any,
        max_message_bytes: int,
        keys: CurveKeys | None,
        accept: Accept,
        open_streams: set[ZmqStream],
    ) -> None:
        self._most_strangers = min(MAX_STRANGERS, most_connections())
        self._max, self._keys, self._accept = max_message_bytes, keys, accept
        self._open_streams, self._news = open_streams, News()
        self._router = make_socket(context, zmq.ROUTER, max_message_bytes)
        self._router.router_mandatory = 1  # else messages for ended connections are dropped silently
        self._monitor = self._router.get_monitor_socket(EVENTS)
        self._requests = context.socket(zmq.REP)  # from libzmq: whether to admit a caller
        self._messages = Inlet(self._router, self._take_messages)
        self._events = Inlet(self._monitor, self._take_news, NEWS_PAUSE)
        self._admissions = Inlet(self._requests, self._admit)
        self._bound: list[str] = []  # ZeroMQ's endpoints
        self._pair: Pair | None = None  # in use by the socket
        self._callers: dict[int, _Caller] = {}  # by file descriptor, the oldest first
        self._names: dict[int, bytes] = {}  # by file descriptor, the newest of its connections so far
        self._unread: set[int] = set()  # descriptors of ended connections whose first message may not be read yet
        self._streams: dict[bytes, ZmqStream] = {}  # by ROUTER's name for the connection
        self._gone: list[ZmqStream] = []  # the connection has ended, but its last messages may not be read yet
        self._why = ""  # the cause of a failed handshake; the connection that ends next had it
        self._rebinding: asyncio.Task[None] | None = None
        self._accepting = Accepting()
        self._stopped = False

    async def bind(self, address: str) -> str:
        """Listen on "HOST:PORT"; return the bound address.

        Raises:
            TransientError: the address cannot be bound.
        """
        host, port = parse_address(address)
        self._router.ipv6 = ":" in host
        self._requests.bind(REQUESTS)
        self._router.zap_domain = b"edgekd"  # else old versions of ZMTP, without handshake, would be admitted
        if self._keys is not None:
            self._router.curve_server = 1
            self._use(self._keys.own())
        where = await resolve(host, port)
        families = where if self._router.ipv6 else [each for each in where if ":" not in each[0]] or where
        error: zmq.ZMQError | None = None
        for each in families:
            try:
                self._router.bind(endpoint((each[0], port)))
            except zmq.ZMQError as failure:  # "localhost" may also name an IPv6 address that the box does not have
                error = failure
                continue
            bound = self._router.get_string(zmq.LAST_ENDPOINT)
            self._bound.append(bound)
            port = int(bound.rpartition(":")[2])
        if not self._bound:  # the port was taken after the check
            why = error.strerror if error else "no address"
            raise TransientError(f"cannot listen on {address}: {why}") from error
        return format_address(host, port)

    def stop(self) -> None:
        """Accept no new streams."""
        self._stopped = True

    async def close(self) -> None:
        """Wait until `accept` has returned for each closed stream, then close the sockets. Idempotent."""
        await self._accepting.finish()
        if self._rebinding is not None:
            self._rebinding.cancel()
            await asyncio.wait({self._rebinding})
        if not self._router.closed:
            self._router.disable_monitor()
        for inlet in (self._messages, self._events, self._admissions):
            inlet.close()

    def _take_news(self) -> None:
        self._take_events()
        self._take_messages()
        if self._keys is not None and self._rebinding is None and (pair := self._pair_now()) != self._pair:
            self._rebinding = start(self._rebind(pair))

    def _admit(self) -> None:
        for request in drained(self._requests):
            self._admissions.post(admission([part.bytes for part in request], self._keys, self._news))

    def _take_messages(self) -> None:
        count = 0
        for identity, *parts in drained(self._router, BATCH):
            count += 1
            stream = self._streams.get(identity.bytes)
            if stream is not None and len(parts) == 1:
                stream.take(parts[0].bytes)
            else:
                self._take_first(identity.bytes, parts)
        if count < BATCH:
            self._unread.clear()
        for stream in self._gone:
            stream.lose()
        self._gone.clear()

    def _take_first(self, identity: bytes, parts: list[Any]) -> None:
        """Handle a message without a stream: it opens one, or its connection is cut."""
        descriptor = parts[0].get(zmq.SRCFD)
        self._take_events()  # now `_callers` knows the connection: its event comes before its messages
        caller = self._callers.get(descriptor)
        if caller is None or self._is_late(caller, descriptor, identity):
            return
        opens = len(parts) == 1 and parts[0].bytes == OPENING and _counted(identity)
        if not opens and not caller.identity and descriptor in self._unread:  # perhaps of the connection before
            return
        if caller.identity != identity:
            self._forget_name(caller)
        if self._stopped or caller.identity or not opens:
            if not caller.identity and not self._stopped:
                self._refuse(caller, "what it speaks is not edgekd's")
            cut(descriptor, caller.remote)
            return
        caller.identity = self._names[descriptor] = identity
        caller.stream = self._streams[identity] = ZmqStream(
            caller.remote,
            holder(parts[0].get("User-Id")) if self._keys is not None else None,
            self._max,
            post=lambda message: self._post(identity, message),
            let_go=lambda: self._let_go(identity, descriptor),
            open_streams=self._open_streams,
        )
        with contextlib.suppress(zmq.ZMQError):  # the connection has ended
            self._post(identity, OPENING)
        self._accepting.add(self._accept, caller.stream)

    def _is_late(self, caller: _Caller, descriptor: int, identity: bytes) -> bool:
        """Whether this is the name of a connection that had the descriptor before."""
        newest = self._names.get(descriptor)
        return newest is not None and identity != caller.identity and not _is_newer(identity, newest)

    def _forget_name(self, caller: _Caller) -> None:
        """Remove the caller's name, if it has one: it turned out to be that of the connection before."""
        if caller.stream is not None:
            self._streams.pop(caller.identity, None)
            self._gone.append(caller.stream)
        caller.identity, caller.stream = b"", None

    def _post(self, identity: bytes, message: bytes) -> None:
        self._messages.post([identity, message])

    def _let_go(self, identity: bytes, descriptor: int) -> None:
        self._streams.pop(identity, None)
        caller = self._callers.get(descriptor)
        if caller is not None and caller.identity == identity:
            cut(descriptor, caller.remote)

    def _take_events(self) -> None:
        for parts in drained(self._monitor):
            event, value = event_of(parts)
            if event == zmq.EVENT_ACCEPTED:
                self._callers[value] = _Caller(remote_of(value))
            elif event in (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL):
                self._why = self._said_of(event, value)
            elif event == zmq.EVENT_DISCONNECTED:  # a failed handshake is followed by this event
                self._disconnected(value, self._callers.pop(value, None))
        self._limit_strangers()

    def _said_of(self, event: int, value: int) -> str:
        """Explain a failed handshake."""
        ours, theirs = ("keys", "none") if self._keys else ("no keys", "some")
        if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:  # the other side may have seen the cause first
            return f"{BROKEN_OFF}; this peer uses {ours}"
        if value == MISMATCH:
            return f"this peer uses {ours} and that one {theirs}"
        if value == UNOPENED:
            return "it takes another key for this peer's: copy this peer's public key there"
        return "what it speaks is not ZeroMQ's"

    def _disconnected(self, descriptor: int, caller: _Caller | None) -> None:
        why, self._why = self._why, ""
        if caller is None:
            return
        if not caller.identity:
            self._unread.add(descriptor)
        if why:
            self._refuse(caller, why)
        if caller.stream is not None:
            self._streams.pop(caller.identity, None)
            self._gone.append(caller.stream)

    def _limit_strangers(self) -> None:
        strangers = [(fd, caller) for fd, caller in self._callers.items() if not caller.identity and not caller.is_cut]
        for descriptor, caller in strangers[: -self._most_strangers]:
            caller.is_cut = True  # the event of its end comes later
            cut(descriptor, caller.remote)

    def _refuse(self, caller: _Caller, why: str) -> None:
        host = caller.remote.rpartition(":")[0] or "an address unknown"  # ended before its address was read
        level = logging.INFO if why.startswith(BROKEN_OFF) else logging.WARNING
        self._news.say(f"{host} {why}", level, f"refused somebody at {host}: {why}", time.monotonic())

    # -- a new pair of keys --------------------------------------------------------------------------------------------

    def _use(self, pair: Pair) -> None:
        self._pair = pair
        self._router.curve_publickey, self._router.curve_secretkey = pair.public, pair.secret

    def _pair_now(self) -> Pair:
        """This peer's pair in its file; if the file cannot be read, the pair in use."""
        assert self._keys is not None
        assert self._pair is not None
        try:
            return self._keys.own()
        except ConfigError as error:
            self._news.say("own keys", logging.WARNING, f"{error}; the keys stay as they were", time.monotonic())
            return self._pair

    async def _rebind(self, pair: Pair) -> None:
        """Listen with the new pair. ZeroMQ drops the connections made with the old pair, and neighbours dial again."""
        for where in self._bound:
            self._router.unbind(where)
        for caller in self._callers.values():
            if caller.stream is not None:
                self._gone.append(caller.stream)
        self._callers.clear()
        self._streams.clear()
        self._take_messages()
        self._use(pair)
        for where in self._bound:
            while True:
                try:
                    self._router.bind(where)
                    break
                except zmq.ZMQError as error:  # ZeroMQ still holds the port, or somebody else has taken it
                    why = f"cannot listen on {where} with this peer's new keys yet: {error.strerror}; keep trying"
                    self._news.say("bind", logging.INFO, why, time.monotonic())
                    await asyncio.sleep(REBIND_PAUSE)
        self._rebinding = None
        self._messages.look()
        self._news.say("own keys", logging.INFO, "listening with this peer's new keys", time.monotonic())


def _counted(identity: bytes) -> bool:
    """Whether ROUTER has made this name. Others are chosen by the caller, which no peer does."""
    return len(identity) == 5 and identity[0] == 0


def _is_newer(identity: bytes, than: bytes) -> bool:
    """Whether ROUTER has made a name later than another one; a name that a caller has chosen may be of any time."""
    later = int.from_bytes(identity[1:], "big") - int.from_bytes(than[1:], "big")
    return not _counted(identity) or 0 < later % 2**32 < 2**31
