"""The listening side of ZeroMQ: one ROUTER socket, a stream for each connection that opens one.

ROUTER tells messages apart by connection, not when a connection has come or gone; that is told by the socket's monitor,
by file descriptor, and the first message of a connection tells which descriptor is its. What ZeroMQ never tells
anybody is how to break one connection: that is done by shutting it down under ZeroMQ's hands (`cut`).
"""

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import Any

import zmq

from edgekd.errors import ConfigError
from edgekd.protocol.addresses import join, parse_address
from peer.network.news import News
from peer.transports.base import Accept, Accepting, start
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
    resolve,
)
from peer.transports.zmq.streams import OPENING, ZmqStream

MAX_STRANGERS = 64  # connections that have not said anything yet; one more breaks the oldest
NEWS_PAUSE = 0.02  # seconds between two looks at which connections have come and gone
REBIND_PAUSE = 0.02  # seconds between two tries to listen again


@dataclass(slots=True)
class _Caller:
    """Who is at the other end of a connection."""

    remote: str
    identity: bytes = b""  # ROUTER's name for the connection; empty: it has said nothing yet
    stream: ZmqStream | None = None
    is_cut: bool = False


class Listener:
    """Accepts streams.

    Args:
        context: in which its sockets are made.
        max_message_bytes: longest message that is sent or received.
        keys: who may come in, and as whom; None: everybody.
        accept: is awaited with each stream.
        open_streams: where streams are to be found until they are closed.
    """

    def __init__(
        self,
        context: Any,
        max_message_bytes: int,
        keys: CurveKeys | None,
        accept: Accept,
        open_streams: set[ZmqStream],
    ) -> None:
        self._max, self._keys, self._accept = max_message_bytes, keys, accept
        self._open_streams, self._news = open_streams, News()
        self._router = make_socket(context, zmq.ROUTER, max_message_bytes)
        self._router.router_mandatory = 1  # else what is for a connection that has gone is dropped in silence
        self._monitor = self._router.get_monitor_socket(EVENTS)
        self._requests = context.socket(zmq.REP)  # of libzmq, whether somebody may come in
        self._messages = Inlet(self._router, self._take_messages)
        self._events = Inlet(self._monitor, self._take_news, NEWS_PAUSE)
        self._admissions = Inlet(self._requests, self._admit)
        self._bound: list[str] = []  # ZeroMQ's endpoints
        self._pair: Pair | None = None  # that the socket uses
        self._callers: dict[int, _Caller] = {}  # by file descriptor, the oldest first
        self._streams: dict[bytes, ZmqStream] = {}  # by ROUTER's name for the connection
        self._gone: list[ZmqStream] = []  # whose connection has broken, and whose last messages may still lie there
        self._why = ""  # what went wrong in the handshake of the connection that breaks next
        self._rebinding: asyncio.Task[None] | None = None
        self._accepting = Accepting()
        self._stopped = False

    async def bind(self, address: str) -> str:
        """Listen on "HOST:PORT"; returns the bound one.

        Raises:
            ConfigError: the address cannot be bound.
        """
        host, port = parse_address(address)
        self._router.ipv6 = ":" in host
        self._requests.bind(REQUESTS)
        self._router.zap_domain = b"edgekd"  # without one, versions of ZMTP that need no handshake would get in
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
        if not self._bound:  # taken since the check
            raise ConfigError(f"cannot listen on {address}: {error.strerror if error else 'no address'}") from error
        return join(host, port)

    def stop(self) -> None:
        """Take no new streams."""
        self._stopped = True

    async def close(self) -> None:
        """Let go of the sockets, once the streams are closed and `accept` has returned. Idempotent."""
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
        for identity, *parts in drained(self._router, BATCH):
            stream = self._streams.get(identity.bytes)
            if stream is not None and len(parts) == 1:
                stream.take(parts[0].bytes)
            else:
                self._take_first(identity.bytes, parts)
        for stream in self._gone:
            stream.lose()
        self._gone.clear()

    def _take_first(self, identity: bytes, parts: list[Any]) -> None:
        """A message that is no stream's: it opens one, or its connection is broken."""
        descriptor = parts[0].get(zmq.SRCFD)
        self._take_events()  # ZeroMQ tells of a connection before it delivers from it: now the descriptor is this one's
        caller = self._callers.get(descriptor)
        if caller is None or (caller.identity and caller.identity != identity):  # it has gone again
            return
        if self._stopped or len(parts) > 1 or caller.identity or parts[0].bytes != OPENING:
            if not caller.identity and not self._stopped:
                self._refuse(caller, "what it speaks is not edgekd's")
            cut(descriptor, caller.remote)
            return
        caller.identity = identity
        caller.stream = self._streams[identity] = ZmqStream(
            caller.remote,
            int(parts[0].get("User-Id")) if self._keys is not None else None,
            self._max,
            post=lambda message: self._post(identity, message),
            let_go=lambda: self._let_go(identity, descriptor),
            open_streams=self._open_streams,
        )
        with contextlib.suppress(zmq.ZMQError):  # it has gone again
            self._post(identity, OPENING)
        self._accepting.add(self._accept, caller.stream)

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
            elif event == zmq.EVENT_DISCONNECTED:  # after a failed handshake too, and next to it
                self._disconnected(self._callers.pop(value, None))
        self._limit_strangers()

    def _said_of(self, event: int, value: int) -> str:
        """What a handshake that failed means."""
        ours, theirs = ("keys", "none") if self._keys else ("no keys", "some")
        if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:  # the other side may be the first to see why
            return f"it broke off the handshake; this peer uses {ours}"
        if value == MISMATCH:
            return f"this peer uses {ours} and that one {theirs}"
        if value == UNOPENED:
            return "it takes another key for this peer's: copy this peer's public key there"
        return "what it speaks is not ZeroMQ's"

    def _disconnected(self, caller: _Caller | None) -> None:
        why, self._why = self._why, ""
        if caller is None:
            return
        if why:
            self._refuse(caller, why)
        if caller.stream is not None:
            self._streams.pop(caller.identity, None)
            self._gone.append(caller.stream)

    def _limit_strangers(self) -> None:
        strangers = [(fd, caller) for fd, caller in self._callers.items() if not caller.identity and not caller.is_cut]
        for descriptor, caller in strangers[:-MAX_STRANGERS]:
            caller.is_cut = True  # that it has gone is told later
            cut(descriptor, caller.remote)

    def _refuse(self, caller: _Caller, why: str) -> None:
        host = caller.remote.rpartition(":")[0] or "an address unknown"  # it was gone before it could be looked at
        self._news.say(f"{host} {why}", logging.WARNING, f"refused somebody at {host}: {why}", time.monotonic())

    # -- a new pair of its own -----------------------------------------------------------------------------------------

    def _use(self, pair: Pair) -> None:
        self._pair = pair
        self._router.curve_publickey, self._router.curve_secretkey = pair.public, pair.secret

    def _pair_now(self) -> Pair:
        """This peer's pair as the file has it now; while that cannot be read, the one in use."""
        assert self._keys is not None
        assert self._pair is not None
        try:
            return self._keys.own()
        except ConfigError as error:
            self._news.say("own keys", logging.WARNING, f"{error}; the keys stay as they were", time.monotonic())
            return self._pair

    async def _rebind(self, pair: Pair) -> None:
        """Listen with the new pair. ZeroMQ lets go of what was accepted with the old one: neighbours dial again."""
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
                except zmq.ZMQError as error:  # ZeroMQ has not let go of it yet, or somebody else has taken it
                    why = f"cannot listen on {where} with this peer's new keys yet: {error.strerror}; keep trying"
                    self._news.say("bind", logging.INFO, why, time.monotonic())
                    await asyncio.sleep(REBIND_PAUSE)
        self._rebinding = None
        self._messages.look()
        self._news.say("own keys", logging.INFO, "listening with this peer's new keys", time.monotonic())
