"""The interface of a transport, which gRPC, ZeroMQ and memory implement.

A transport moves `Frame`s over streams. It knows nothing about Hellos, heartbeats or neighbours: the protocol is
implemented once, above all transports, in `peer/network/hub.py`. All calls come from one asyncio loop, that of the
peer's network thread.
"""

import asyncio
import contextlib
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

from edgekd.protocol.addresses import place
from edgekd.protocol.holders import REVOKED, Holder
from edgekd.protocol.messages import Frame

CLOSE_DEADLINE = 1.0  # seconds for the other side to read what was sent; then as many for `accept` to return


class StreamClosedError(Exception):
    """The stream has ended: one side has closed it, or the connection broke."""


class Stream(Protocol):
    """A bidirectional stream between two peers. Frames arrive complete and in order, or the stream ends."""

    remote: str  # the address of the other side as this side sees it, for messages
    holder: Holder | None  # the peer or observer whose key the other side has proven to hold; None: no keys

    async def send(self, frame: Frame) -> None:
        """Pass `frame` to the network. This waits for flow control, not until the frame arrives.

        Raises:
            StreamClosedError: the stream has ended.
        """

    async def receive(self) -> Frame:
        """The next frame.

        Raises:
            StreamClosedError: the stream has ended. Every later call raises this error again.
            RemoteProtocolError: an invalid frame has arrived. The stream continues if it can.
        """

    async def close(self) -> None:
        """End the stream. Sent frames are delivered first, if the other side still reads. Idempotent; never raises."""


Accept = Callable[[Stream], Awaitable[None]]


class Transport(Protocol):
    """Listens for streams and dials them."""

    async def listen(self, address: str, accept: Accept) -> str:
        """Listen on "HOST:PORT" (port 0: any free port), and await `accept` with each stream that a peer dials.

        A stream is closed when `accept` returns.

        Returns:
            The bound "HOST:PORT".

        Raises:
            ConfigError: the address cannot be bound. The message gives the cause and a remedy.
        """

    async def dial(self, address: str, *, timeout: float) -> Stream:
        """Open a stream to the peer that listens on `address`, within `timeout` seconds.

        Args:
            address: "HOST:PORT", or "ID@HOST:PORT". If the transport uses keys, it needs the id and accepts only the
                key of this peer.
            timeout: seconds.

        Raises:
            OSError: there is no stream: connection refused, host unreachable, name unknown, time out, or invalid key.
        """

    def revoked(self) -> frozenset[Holder]:
        """The holders whose keys are shut out now. The transport does not refuse them itself: its user does."""

    async def close(self) -> None:
        """Close the listener and all streams. Afterwards the port is free. Idempotent."""


async def serve(accept: Accept, stream: Stream) -> None:
    """Await `accept` with a stream that a peer has dialled, then close the stream, even after an error."""
    try:
        with contextlib.suppress(StreamClosedError):
            await accept(stream)
    finally:
        await stream.close()


def start(work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
    """Run `work` in a new task."""
    return asyncio.get_running_loop().create_task(work)


async def dial(transport: Transport, address: str, *, timeout: float) -> Stream:
    """Dial with `transport.dial`, unless the key of the peer is shut out; every failure becomes an OSError.

    So a bug makes one dial fail and does not end this peer.

    Raises:
        OSError: there is no stream.
    """
    try:
        id, where = place(address)
        if id in transport.revoked():
            raise ConnectionError(f"cannot reach {where}: the key of peer {id} is shut out, by {REVOKED} in --certs")
        return await transport.dial(address, timeout=timeout)
    except OSError:
        raise
    except Exception as error:
        raise ConnectionError(f"cannot reach {address}: {as_bug(error)}") from error


def as_bug(error: BaseException) -> str:
    """One line about an error that only a bug can have caused: its message, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f", {Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else ""
    return f"a bug of edgekd ({type(error).__name__}{where}): {error}"


class Accepting:
    """The tasks of a listener: one for each stream that was dialled to it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def add(self, accept: Accept, stream: Stream) -> None:
        """Start a task that awaits `accept` with `stream`."""
        task = start(serve(accept, stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait until `accept` has returned for every closed stream; cancel it after `CLOSE_DEADLINE` seconds."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_DEADLINE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
