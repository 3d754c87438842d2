"""Questions that need no peer: how is it, and what does a newcomer have to know. Both sides of them.

Who asks dials as a peer would, reads the other's Hello, sends an `Ask` in the place of its own, and reads the answer.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.addresses import place
from edgekd.protocol.messages import MAJOR, PIECE, Ask, Asked, Frame, Goodbye, Hello, Piece, Status
from peer.transports.base import Stream, StreamClosedError, Transport, as_bug, dial, start
from peer.transports.greeting import greeting

LARGEST_FILE = 2**32  # bytes: more is no public set


async def answer(
    stream: Stream,
    ask: Ask,
    status: Callable[[], Status],
    public: Iterable[bytes | memoryview],
    *,
    within: float,
) -> None:
    """Answer one question.

    Args:
        stream: on which it came.
        ask: the question.
        status: this peer's, made when it is wanted.
        public: the bytes of the public file, in pieces of any length.
        within: seconds in which each frame of the answer has to be taken.

    Raises:
        StreamClosedError: the other side has gone.
        asyncio.TimeoutError: the other side has not taken a frame in time.
    """
    frames: Iterable[Frame] = [status()] if ask.what is Asked.STATUS else _pieces(public)
    for frame in frames:
        await asyncio.wait_for(stream.send(frame), within)


def _pieces(chunks: Iterable[bytes | memoryview]) -> Iterator[Piece]:
    for chunk in chunks:
        for begin in range(0, len(chunk), PIECE):
            yield Piece(data=bytes(chunk[begin : begin + PIECE]), last=False)
    yield Piece(data=b"", last=True)


async def ask_status(transport: Transport, address: str, *, timeout: float) -> Status:
    """The status of the peer at "HOST:PORT", within `timeout` seconds.

    Raises:
        OSError: nobody answers there in time, or no peer that knows the question.
    """
    _, status = await ask_who(transport, address, timeout=timeout)
    return status


async def ask_who(transport: Transport, address: str, *, timeout: float) -> tuple[Hello, Status]:
    """What the peer at "HOST:PORT" says of itself, with its contract, and its status, within `timeout` seconds.

    Raises:
        OSError: nobody answers there in time, or no peer that knows the question.
    """
    stream = await _dialled(transport, address, timeout)
    try:
        with _failures(address):
            return await asyncio.wait_for(_status(stream, address), timeout)
    except asyncio.TimeoutError:
        raise TimeoutError(f"{address} does not say how it is within {timeout:g} s") from None
    finally:
        await stream.close()


async def fetch_public(
    transport: Transport, address: str, write: Callable[[bytes], object], *, timeout: float, within: float
) -> Hello:
    """Fetch the public file of the group that the peer at "HOST:PORT" belongs to.

    Args:
        transport: makes the stream.
        address: of any peer of the group.
        write: called with each part of the file, in order.
        timeout: seconds that may pass between two frames.
        within: seconds for all of it.

    Returns:
        The peer's Hello: its contract says what else the group has agreed on, and the SHA-256 that the file must have.

    Raises:
        OSError: nobody answers there in time, no peer that knows the question, or it stops midway.
    """
    try:
        with _failures(address):
            return await asyncio.wait_for(_fetch(transport, address, write, timeout), within)
    except asyncio.TimeoutError as error:
        if error.args:  # it says why
            raise
        raise TimeoutError(f"{address} has not sent its whole public file within {within:g} s") from None


async def _fetch(transport: Transport, address: str, write: Callable[[bytes], object], timeout: float) -> Hello:
    stream = await _dialled(transport, address, timeout)
    try:
        hello = await _begin(stream, address, Ask(what=Asked.PUBLIC), timeout)
        size = 0
        while True:
            frame = await _next(stream, address, timeout)
            if not isinstance(frame, Piece):
                raise _unexpected(address, frame)
            write(frame.data)
            size += len(frame.data)
            if frame.last:
                return hello
            if size > LARGEST_FILE:
                raise ConnectionError(f"{address} sends more than {LARGEST_FILE} bytes: that is no public file")
    finally:
        await stream.close()


async def _dialled(transport: Transport, address: str, timeout: float) -> Stream:
    """A stream; if nobody answers in time, the error says what listens there."""
    try:
        return await dial(transport, address, timeout=timeout)
    except TimeoutError as error:
        found = await greeting(place(address)[1])
        if found is None:
            raise
        raise TimeoutError(f"{error}; {found.value}") from None


async def _status(stream: Stream, address: str) -> tuple[Hello, Status]:
    hello = await _begin(stream, address, Ask(what=Asked.STATUS), None)
    frame = await _next(stream, address, None)
    if not isinstance(frame, Status):
        raise _unexpected(address, frame)
    return hello, frame


async def _begin(stream: Stream, address: str, ask: Ask, timeout: float | None) -> Hello:
    """Read the peer's Hello and ask."""
    hello = await _next(stream, address, timeout)
    if not isinstance(hello, Hello):
        raise _unexpected(address, hello)
    if hello.major != MAJOR:
        raise ConnectionError(f"{address} speaks version {hello.major} of the protocol, this is version {MAJOR}")
    try:
        await asyncio.wait_for(stream.send(ask), timeout)
    except asyncio.TimeoutError:
        raise TimeoutError(f"{address} takes no question") from None
    return hello


async def _next(stream: Stream, address: str, timeout: float | None) -> Frame:
    reading: asyncio.Task[Frame] = start(stream.receive())
    try:
        # Before Python 3.12 `wait_for` swallows a cancellation that comes together with a frame: a caller's deadline.
        await asyncio.wait({reading}, timeout=timeout)
        if not reading.done():
            raise TimeoutError(f"{address} has said nothing for {timeout:g} s")
        return reading.result()
    finally:
        reading.cancel()


@contextmanager
def _failures(address: str) -> Iterator[None]:
    """Make whatever goes wrong while a peer is asked an OSError: a newcomer asks the next one then."""
    try:
        yield
    except (OSError, asyncio.TimeoutError):
        raise
    except StreamClosedError:
        raise ConnectionError(f"{address} ended the stream before it had answered") from None
    except RemoteProtocolError as error:
        raise ConnectionError(f"{address} answered with something else: {error}") from error
    except Exception as error:
        raise ConnectionError(f"{address} cannot be asked: {as_bug(error)}") from error


def _unexpected(address: str, frame: Frame) -> OSError:
    why = frame.detail if isinstance(frame, Goodbye) else f"with {type(frame).__name__}"
    return ConnectionError(f"{address} does not answer: {why}")
