"""ZeroMQ's sockets: their options, their messages and the events of their connections."""

import asyncio
import contextlib
import errno
import itertools
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import zmq

from edgekd.protocol.addresses import format_address
from peer.transports.resolving import Address
from peer.transports.zmq.streams import WINDOW

HANDSHAKE_WITHIN = 3.0  # seconds that a handshake may take
BATCH = 64  # messages to read at once, since other tasks share the loop
BACKLOG = 128  # connections that the kernel queues for a listener
MAX_QUEUED = 4 * WINDOW  # messages one way: twice a window and its grants, as ZeroMQ counts in batches

# The events of handshakes, on both sides.
_HANDSHAKES = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
EVENTS = _HANDSHAKES | zmq.EVENT_ACCEPTED | zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED

# Causes of a failed handshake: only one side uses keys; or a side cannot decrypt a message with its key.
MISMATCH, UNOPENED = zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH, zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC


def make_socket(context: Any, kind: int, max_message_bytes: int) -> Any:
    """A socket for connections to peers. Its queues are bounded; it does not reconnect, and closes without delay."""
    made: Any = context.socket(kind)
    made.linger = 0  # a stream itself waits until its end is answered
    made.sndhwm = made.rcvhwm = MAX_QUEUED  # for each connection
    made.maxmsgsize = 2 * max_message_bytes  # twice, since ZeroMQ does not report why it ends a connection
    made.reconnect_ivl = -1  # a broken connection ends its stream, and the hub dials again
    made.backlog = BACKLOG
    made.handshake_ivl = round(1000 * HANDSHAKE_WITHIN)
    made.heartbeat_ivl, made.heartbeat_timeout = 10_000, 5_000  # milliseconds; ends half-open connections
    made.tcp_keepalive = 1
    return made


class Inlet:
    """Calls a function on the asyncio loop when messages have arrived at a socket.

    zmq.asyncio can do this, too, but it needs several futures for each message, which cost more than the message.

    Args:
        source: the socket. Messages must be sent only with `post`.
        take: called when messages may have arrived. It may read some of them; it is called again for the rest.
        pause: seconds between two calls. It limits work that strangers can cause and that is not urgent.
    """

    def __init__(self, source: Any, take: Callable[[], None], pause: float = 0.0) -> None:
        self._source, self._take, self._pause = source, take, pause
        self._descriptor = source.getsockopt(zmq.FD)
        self._loop = asyncio.get_running_loop()
        self._resume()

    def post(self, parts: list[bytes]) -> None:
        """Send a message without waiting; raises zmq.ZMQError if ZeroMQ does not accept it."""
        self._loop.call_soon(self.look)
        self._source.send_multipart(parts, zmq.NOBLOCK)

    def look(self) -> None:
        """Check for messages. Call this after each use of the socket, which may clear the signal of its descriptor."""
        if not self._source.closed and self._source.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            self._take()
            self._loop.call_soon(self.look)  # `take` may have left messages

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
    """Read the queued messages of a socket without waiting, at most `most`; each is a list of parts (`zmq.Frame`)."""
    for _ in itertools.count() if most is None else range(most):
        try:
            yield source.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.ZMQError:  # there is none, or a message has caused the socket to be closed
            return


def event_of(parts: list[Any]) -> tuple[int, int]:
    """An event of `EVENTS` and its value: a file descriptor or an error code."""
    event, value = struct.unpack("=Hi", bytes(parts[0]))
    return event, value


def endpoint(where: Address) -> str:
    """An address in ZeroMQ's form."""
    return f"tcp://{format_address(where[0], where[1])}"


def remote_of(descriptor: int) -> str:
    """The other end of one of ZeroMQ's connections, "HOST:PORT"; "" if the connection has ended."""
    with _copied(descriptor) as copy:
        return _peer_of(copy)


def cut(descriptor: int, remote: str) -> None:
    """Shut down one of ZeroMQ's connections, if it still is the one to `remote`. ZeroMQ has no call for this."""
    with _copied(descriptor) as copy:
        if copy is not None and remote and _peer_of(copy) == remote:
            with contextlib.suppress(OSError):
                copy.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _copied(descriptor: int) -> Iterator[socket.socket | None]:
    """The socket of a descriptor; None: there is no such socket.

    It is a duplicate, which refers to the same connection even if libzmq closes its own descriptor. If the process has
    too many open files for a duplicate, it is the descriptor itself: above all then strangers must be cut.
    """
    try:
        own = os.dup(descriptor)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            yield None
            return
        own = descriptor
    try:
        copy = socket.socket(fileno=own)
    except OSError:
        if own != descriptor:
            os.close(own)
        yield None
        return
    try:
        yield copy
    finally:
        if own != descriptor:
            copy.close()
        else:
            copy.detach()


def _peer_of(connection: socket.socket | None) -> str:
    if connection is None:
        return ""
    try:
        host, port = connection.getpeername()[:2]
    except (OSError, ValueError):
        return ""
    return format_address(host.removeprefix("::ffff:") if "." in host else host, port)
