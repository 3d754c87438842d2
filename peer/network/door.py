"""The beginning of each stream: a Hello each way, or a question and its answer, from a side not yet known."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.holders import Holder, spoken
from edgekd.protocol.messages import Ask, Asked, Frame, Goodbye, Hello, Parting, Status
from edgekd.protocol.places import Places
from edgekd.protocol.rations import PART, PATIENCE, Rations
from edgekd.protocol.timing import Timing
from peer.network.asking import answer
from peer.transports.base import Stream

MAX_DELAYED = 64  # refused callers that wait to be disconnected, at most
MAX_ASKING = 8  # newcomers that are sent the public file at the same time, at most


class Door:
    """The streams of strangers: callers that this peer has not accepted as neighbours.

    Args:
        hello: makes this peer's Hello.
        status: makes this peer's status.
        public: gives the bytes of the group's public file, for newcomers.
        refuse: called with a description of a refused caller and the reason.
        evict: called with a stream that has to make room for another.
        revoked: returns the holders (peers and observers) whose keys are shut out now.
        timing: how long a stranger may take.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        *,
        hello: Callable[[], Hello],
        status: Callable[[], Status],
        public: Callable[[], Iterable[bytes | memoryview]],
        refuse: Callable[[str, RemoteProtocolError], None],
        evict: Callable[[Stream], None],
        revoked: Callable[[], Container[Holder]],
        timing: Timing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hello, self._status, self._public, self._refuse = hello, status, public, refuse
        self._evict, self._revoked, self._timing, self._clock = evict, revoked, timing, clock
        self._places: Places[Stream] = Places()
        self._rations = Rations()
        self._delayed = 0  # refused callers that are not disconnected yet
        self._asking: list[Holder | None] = []  # one entry for each caller that is being sent the public file

    @property
    def strangers(self) -> int:
        """The number of streams whose callers are not decided on yet."""
        return len(self._places)

    @contextmanager
    def stranger(self, stream: Stream) -> Iterator[None]:
        """Give an incoming stream one of the few places for strangers, until it is accepted or sent away."""
        evicted = self._places.enter(stream, id=stream.holder, address=host(stream))
        if evicted is not None:
            self._evict(evicted)
        try:
            yield
        finally:
            self._places.leave(stream)

    async def greet(self, stream: Stream, *, dialled: bool) -> Hello | None:
        """Exchange Hellos, or answer a question that is sent in place of a Hello.

        A caller whose key is shut out is told so. An observer (a key that names no peer) may only ask for the status.

        Returns:
            The other side's Hello; None: it has asked a question, was refused, or sent nothing in time.

        Raises:
            StreamClosedError: the other side has closed the stream.
        """
        try:
            await asyncio.wait_for(stream.send(self._hello()), self._timing.hello_within)
            frame = await asyncio.wait_for(stream.receive(), self._timing.hello_within)
            self._check_key(stream.holder, frame)
            if isinstance(frame, Hello):
                return frame
            if not isinstance(frame, Ask) or dialled:
                raise RemoteProtocolError("hello", f"a stream begins with Hello, not {type(frame).__name__}")
            await self._answer(stream, frame)
        except asyncio.TimeoutError:
            pass
        except RemoteProtocolError as error:
            self._refuse(f"somebody at {host(stream)}", error)
            await self.send_away(stream, Goodbye(parting=Parting.REFUSED, detail=str(error)))
        return None

    async def send_away(self, stream: Stream, goodbye: Goodbye) -> None:
        """Send a goodbye to a caller that does not become a neighbour.

        A refused caller is disconnected after a delay, so that it cannot try again at once. It holds no place in that
        time. Of more than `MAX_DELAYED` refused callers the rest is disconnected without a delay.
        """
        self._places.leave(stream)
        with contextlib.suppress(asyncio.TimeoutError):  # the caller does not read
            await asyncio.wait_for(stream.send(goodbye), self._timing.close_timeout)
        if goodbye.parting is Parting.REFUSED and self._delayed < MAX_DELAYED:
            self._delayed += 1
            try:
                await asyncio.sleep(self._timing.refusal_delay)
            finally:
                self._delayed -= 1

    def _check_key(self, whose: Holder | None, frame: Frame) -> None:
        """Check that this key may begin a stream with this frame.

        Args:
            whose: the holder of the key; None: the transport uses no keys.
            frame: the first frame of the other side.

        Raises:
            RemoteProtocolError: the key is shut out, or it is an observer's and the frame is no question of the status.
        """
        if whose is not None and whose in self._revoked():
            raise RemoteProtocolError("revoked", revoked_because(whose))
        if isinstance(whose, str) and not (isinstance(frame, Ask) and frame.what is Asked.STATUS):
            wanted = frame.what.value if isinstance(frame, Ask) else type(frame).__name__
            raise RemoteProtocolError("observer", f"{spoken(whose)} may ask for the status, and not for {wanted}")

    async def _answer(self, stream: Stream, ask: Ask) -> None:
        await self._await_turn(stream, ask)
        if ask.what is Asked.STATUS:
            await answer(stream, ask, self._status, (), within=self._timing.answer_within)
            return
        id = stream.holder
        if id is not None and id in self._asking:
            raise RemoteProtocolError("busy", f"peer {id} is being answered already; ask again")
        if len(self._asking) >= MAX_ASKING:
            raise RemoteProtocolError("busy", f"{MAX_ASKING} are being answered already; ask again")
        self._asking.append(id)
        try:
            await answer(stream, ask, self._status, self._counted(stream), within=self._timing.answer_within)
        finally:
            self._asking.remove(id)

    async def _await_turn(self, stream: Stream, ask: Ask) -> None:
        """Delay the question of a caller that asks too often; refuse it if the delay would be too long.

        The refusal comes after a delay, too: a caller that asks again at once would cost as much as an answer.

        Raises:
            RemoteProtocolError: the question is refused.
        """
        wait = self._rations.wait(_caller(stream), ask.what, self._clock())
        await asyncio.sleep(PATIENCE if wait is None else wait)
        if wait is None:
            raise RemoteProtocolError("busy", "it asks too often; ask again later")

    def _counted(self, stream: Stream) -> Iterator[bytes | memoryview]:
        """The chunks of the public file. Each further `PART` bytes count as one more question of this caller."""
        size = 0
        for chunk in self._public():
            parts, size = size // PART, size + len(chunk)
            for _ in range(size // PART - parts):
                self._rations.note_part(_caller(stream))
            yield chunk


def revoked_because(whose: Holder) -> str:
    """The message for a caller whose key is shut out."""
    return f"the key of {spoken(whose)} is shut out"


def _caller(stream: Stream) -> Holder:
    """The holder of the caller's key, or its host if there are no keys: for the rate limit."""
    return host(stream) if stream.holder is None else stream.holder


def host(stream: Stream) -> str:
    """The other side's host without the port, since the port of a caller is a random one."""
    return stream.remote.rpartition(":")[0]
