"""How ZeroMQ's sockets are set up, and what they tell of their connections."""

import asyncio
import contextlib
import itertools
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import zmq

from edgekd.protocol.addresses import join
from peer.transports.zmq.streams import WINDOW

HANDSHAKE_WITHIN = 3.0  # seconds that a connection has from its first byte to being one of ZeroMQ's
BATCH = 64  # messages that are taken at once: the loop has others to look after
BACKLOG = 128  # connections that the system holds for a listener
MAX_QUEUED = 4 * WINDOW  # messages one way; twice what a window and its grants are, since ZeroMQ counts in batches

# What ZeroMQ tells of the handshakes of both sides.
_HANDSHAKES = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
EVENTS = _HANDSHAKES | zmq.EVENT_ACCEPTED | zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED

# Of a handshake that failed: one side uses keys and the other does not; or the box does not open with the key at hand.
MISMATCH, UNOPENED = zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH, zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC

Address = tuple[Any, ...]  # of the socket module: host, port and for IPv6 two numbers more


def make_socket(context: Any, kind: int, max_message_bytes: int) -> Any:
    """A socket for connections to peers: bounded queues, no reconnecting, nothing held back when it is closed."""
    made: Any = context.socket(kind)
    made.linger = 0  # a stream waits for its own end to be answered
    made.sndhwm = made.rcvhwm = MAX_QUEUED  # of each connection
    made.maxmsgsize = 2 * max_message_bytes  # ZeroMQ does not tell why it ended a connection
    made.reconnect_ivl = -1  # a connection that breaks ends its stream, and the hub dials again
    made.backlog = BACKLOG
    made.handshake_ivl = round(1000 * HANDSHAKE_WITHIN)
    made.heartbeat_ivl, made.heartbeat_timeout = 10_000, 5_000  # milliseconds; half-open connections end
    made.tcp_keepalive = 1
    return made


class Inlet:
    """Has whatever arrives at a socket taken, on the loop.

    zmq.asyncio does so too, but polls with several futures a message, which cost more than the message itself.

    Args:
        source: the socket, which is sent to with `post` alone.
        take: called when something may have arrived; takes of it what it will, and is called again.
        pause: seconds between two such calls, for what others cause at any rate they like and is in no hurry.
    """

    def __init__(self, source: Any, take: Callable[[], None], pause: float = 0.0) -> None:
        self._source, self._take, self._pause = source, take, pause
        self._descriptor = source.getsockopt(zmq.FD)
        self._loop = asyncio.get_running_loop()
        self._resume()

    def post(self, parts: list[bytes]) -> None:
        """Hand a message over without waiting; raises zmq.ZMQError if ZeroMQ does not take it."""
        self._loop.call_soon(self.look)
        self._source.send_multipart(parts, zmq.NOBLOCK)

    def look(self) -> None:
        """To be called after any use of the socket: the descriptor tells of news once, and that use took note of it."""
        if not self._source.closed and self._source.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            self._take()
            self._loop.call_soon(self.look)  # it may not have taken all

    def _resume(self) -> None:
        if not self._source.closed:
            self._loop.add_reader(self._descriptor, self._arrived)
            self._loop.call_soon(self.look)

    def _arrived(self) -> None:
        self._take()
        self._loop.call_soon(self.look)
        if self._pause and not self._source.closed:
            self._loop.remove_reader(self._descriptor)
            self._loop.call_later(self._pause, self._resume)

    def close(self) -> None:
        """Close the socket. Idempotent."""
        if not self._source.closed:
            self._loop.remove_reader(self._descriptor)
            self._source.close(linger=0)


def drained(source: Any, most: int | None = None) -> Iterator[list[Any]]:
    """Every message that lies at a socket, or so many at most, in its parts (`zmq.Frame`), without waiting."""
    for _ in itertools.count() if most is None else range(most):
        try:
            yield source.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.ZMQError:  # there is none, or one of them was reason enough to close the socket
            return


def event_of(parts: list[Any]) -> tuple[int, int]:
    """One of `EVENTS` and its value: a file descriptor, or what went wrong."""
    event, value = struct.unpack("=Hi", bytes(parts[0]))
    return event, value


def endpoint(where: Address) -> str:
    """An address as ZeroMQ writes it."""
    return f"tcp://{join(where[0], where[1])}"


async def resolve(host: str, port: int) -> list[Address]:
    """The addresses that a host's name stands for.

    Raises:
        OSError: the name is unknown.
    """
    with contextlib.suppress(socket.gaierror):
        return _looked_up(host, port, socket.AI_NUMERICHOST)
    # In a thread that nobody waits for: a name server that is silent shall hold no peer's end up, and ZeroMQ itself
    # would ask it in the thread that moves everything.
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Address]] = loop.create_future()

    def tell(found: list[Address] | OSError) -> None:
        if not answer.done():
            answer.set_exception(found) if isinstance(found, OSError) else answer.set_result(found)

    def look_up() -> None:
        try:
            found: list[Address] | OSError = _looked_up(host, port, 0)
        except OSError as error:
            found = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=look_up, daemon=True).start()
    return await answer


def _looked_up(host: str, port: int, flags: int) -> list[Address]:
    return [found[4] for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)]


async def why_unreachable(where: Address) -> str:
    """Why nothing can be connected to there: ZeroMQ keeps the reason to itself."""
    family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(probe, where)
        except OSError as error:
            return os.strerror(error.errno) if error.errno else str(error)
    return "the connection was closed at once"


def remote_of(descriptor: int) -> str:
    """The other end of a connection of ZeroMQ's, "HOST:PORT"; "" if it has gone."""
    with _copied(descriptor) as copy:
        return _peer_of(copy)


def cut(descriptor: int, remote: str) -> None:
    """Break a connection of ZeroMQ's, which has no call for that, if it still is the one to `remote`."""
    with _copied(descriptor) as copy:
        if copy is not None and remote and _peer_of(copy) == remote:
            with contextlib.suppress(OSError):
                copy.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _copied(descriptor: int) -> Iterator[socket.socket | None]:
    """A descriptor of one's own, which stays the same connection's; None: it has gone, or is no socket."""
    try:
        own = os.dup(descriptor)
    except OSError:
        yield None
        return
    try:
        copy = socket.socket(fileno=own)
    except OSError:
        os.close(own)
        yield None
        return
    with copy:
        yield copy


def _peer_of(connection: socket.socket | None) -> str:
    if connection is None:
        return ""
    try:
        host, port = connection.getpeername()[:2]
    except (OSError, ValueError):
        return ""
    return join(host.removeprefix("::ffff:") if "." in host else host, port)
