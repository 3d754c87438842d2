"""What carries frames between peers: the interface that gRPC, memory and every later transport implement.

A transport knows nothing of Hello, heartbeats or who is up: it moves `Frame`s over streams. All of the protocol lives
above it, once (`peer/network/hub.py`). Everything here is called from one asyncio loop, the peer's network thread.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from edgekd.protocol.messages import Frame

CLOSE_DEADLINE = 1.0  # seconds that the other side has to take what was sent, and `accept` to return after that


class StreamClosedError(Exception):
    """The stream has ended: closed by either side, or broken."""


class Stream(Protocol):
    """One bidirectional stream between two peers; frames arrive whole and in order, or the stream ends."""

    remote: str  # the other side's address as this side sees it, for messages
    peer_id: int | None  # of whom the other side's key has proved to be; None: the transport does not ask for keys

    async def send(self, frame: Frame) -> None:
        """Hand `frame` to the network; waits for flow control, not for arrival.

        Raises:
            StreamClosedError: the stream has ended.
        """

    async def receive(self) -> Frame:
        """The next frame.

        Raises:
            StreamClosedError: the stream has ended; raised again by every later call.
            RemoteProtocolError: what came is not a valid frame; the stream goes on, unless it cannot be resynchronised.
        """

    async def close(self) -> None:
        """End the stream: what was sent is delivered first if the other side reads on. Idempotent; never raises."""


Accept = Callable[[Stream], Awaitable[None]]


class Transport(Protocol):
    """Makes streams."""

    async def listen(self, address: str, accept: Accept) -> str:
        """Listen on "HOST:PORT" (port 0: any free one); `accept` is awaited with each stream that a peer dials.

        The stream is closed when `accept` returns.

        Returns:
            the bound "HOST:PORT".

        Raises:
            ConfigError: the address cannot be bound; the message says why and what to do.
        """

    async def dial(self, address: str, *, timeout: float) -> Stream:
        """Open a stream to the peer that listens on `address`, within `timeout` seconds.

        Args:
            address: "HOST:PORT", or "ID@HOST:PORT": then, where the transport asks for keys, only that peer's will do.
            timeout: seconds.

        Raises:
            OSError: nobody answers there (refused, unreachable, name unknown, time out, a key that will not do).
        """

    async def close(self) -> None:
        """Close the listener and every stream; the port is free afterwards. Idempotent."""


async def serve(accept: Accept, stream: Stream) -> None:
    """Have `accept` deal with a stream that a peer dialled; it is closed afterwards, whatever happens."""
    try:
        with contextlib.suppress(StreamClosedError):
            await accept(stream)
    finally:
        await stream.close()


def start(work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
    """Run `work` in a task of its own."""
    return asyncio.get_running_loop().create_task(work)


class Accepting:
    """The streams that were dialled to a listener, each dealt with in a task of its own."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def add(self, accept: Accept, stream: Stream) -> None:
        """Have `accept` deal with one."""
        task = start(serve(accept, stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait until `accept` has returned for each, once they are closed; what takes longer is cancelled."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_DEADLINE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
