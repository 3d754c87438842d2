"""Questions to a peer, from callers that are not peers: its status, and the group's public file. Both sides.

The caller dials as a peer does, reads the peer's Hello, sends an `Ask` instead of a Hello, and reads the answer.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.addresses import place
from edgekd.protocol.messages import MAJOR, PIECE, Ask, Asked, Frame, Goodbye, Hello, Piece, Status
from peer.transports.base import Stream, StreamClosedError, Transport, as_bug, dial, start
from peer.transports.greeting import greeting

LARGEST_FILE = 2**32  # bytes; a longer one is no public file


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
        stream: the caller's.
        ask: the question.
        status: makes this peer's status.
        public: the bytes of the public file, in chunks of any length.
        within: seconds in which the network must take each frame of the answer.

    Raises:
        StreamClosedError: the caller has closed the stream.
        asyncio.TimeoutError: the caller has not read a frame in time.
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
    """Ask the peer at "HOST:PORT" for its status; `timeout` is as for `ask_who`.

    Raises:
        OSError: there is no answer in time, or what answers is not a peer that knows the question.
    """
    _, status = await ask_who(transport, address, timeout=timeout)
    return status


async def ask_who(transport: Transport, address: str, *, timeout: float) -> tuple[Hello, Status]:
    """Ask the peer at "HOST:PORT" for its Hello, which holds its contract, and its status.

    Args:
        transport: makes the stream.
        address: of the peer.
        timeout: seconds, once for the dial and once for the answer.

    Raises:
        OSError: there is no answer in time, or what answers is not a peer that knows the question.
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
        timeout: seconds between two frames, at most.
        within: seconds for the whole file.

    Returns:
        The peer's Hello. Its contract says what else the group has agreed on, and the SHA-256 that the file must have;
        this function does not compare it.

    Raises:
        OSError: there is no answer in time, the peer stops midway, or what answers is not a peer that knows the
            question.
    """
    try:
        with _failures(address):
            return await asyncio.wait_for(_fetch(transport, address, write, timeout), within)
    except asyncio.TimeoutError as error:
        if error.args:  # this one has a message already
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
    """Dial a stream. After a time-out the error's message says what listens at the address."""
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
    """Read the peer's Hello, check its version and send the question."""
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
        # Not `wait_for`: before Python 3.12 it swallows a cancellation (the caller's deadline) that comes with a frame.
        await asyncio.wait({reading}, timeout=timeout)
        if not reading.done():
            raise TimeoutError(f"{address} has said nothing for {timeout:g} s")
        return reading.result()
    finally:
        reading.cancel()


@contextmanager
def _failures(address: str) -> Iterator[None]:
    """Turn every error inside the block into an OSError, so that a newcomer goes on with the next peer."""
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
