"""Where a stream begins: a Hello each way, or a question and its answer; nothing is known of the other side yet."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.messages import Ask, Asked, Goodbye, Hello, Parting, Status
from edgekd.protocol.timing import Timing
from peer.network.asking import answer
from peer.transports.base import Stream

MAX_STRANGERS = 64  # streams dialled to this peer that are no neighbour's, or not yet
MAX_ASKING = 8  # newcomers that are sent the public file at once


class Door:
    """Streams at the door of one peer.

    Args:
        hello: what this peer says of itself, now.
        status: how it is, now.
        public: the bytes of the group's public file, for a newcomer.
        refuse: called with who it was and what was wrong.
        timing: how long a stranger may take.
    """

    def __init__(
        self,
        *,
        hello: Callable[[], Hello],
        status: Callable[[], Status],
        public: Callable[[], Iterable[bytes | memoryview]],
        refuse: Callable[[str, RemoteProtocolError], None],
        timing: Timing,
    ) -> None:
        self._hello, self._status, self._public, self._refuse = hello, status, public, refuse
        self._timing = timing
        self.strangers = 0  # streams of which nothing is known yet, or nothing good
        self._asking = 0  # how many are being sent the public file

    @property
    def is_full(self) -> bool:
        """Whether one more stranger would be too many."""
        return self.strangers >= MAX_STRANGERS

    @contextmanager
    def stranger(self) -> Iterator[None]:
        """Count a stream that the other side has dialled until it is a neighbour's, or sent away."""
        self.strangers += 1
        try:
            yield
        finally:
            self.strangers -= 1

    async def greet(self, stream: Stream, *, dialled: bool) -> Hello | None:
        """Both Hellos; None if the other side sent something else first, or nothing. A question is answered here.

        Raises:
            StreamClosedError: the other side has gone.
        """
        try:
            await asyncio.wait_for(stream.send(self._hello()), self._timing.hello_within)
            frame = await asyncio.wait_for(stream.receive(), self._timing.hello_within)
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
        """End a stream before it has begun. A refused caller is disconnected after a delay, so that it cannot hurry."""
        with contextlib.suppress(asyncio.TimeoutError):  # it does not read
            await asyncio.wait_for(stream.send(goodbye), self._timing.close_timeout)
        if goodbye.parting is Parting.REFUSED:
            await asyncio.sleep(self._timing.refusal_delay)

    async def _answer(self, stream: Stream, ask: Ask) -> None:
        if ask.what is Asked.STATUS:
            await answer(stream, ask, self._status, (), within=self._timing.answer_within)
            return
        if self._asking >= MAX_ASKING:
            raise RemoteProtocolError("busy", f"{MAX_ASKING} are being answered already; ask again")
        self._asking += 1
        try:
            await answer(stream, ask, self._status, self._public(), within=self._timing.answer_within)
        finally:
            self._asking -= 1


def host(stream: Stream) -> str:
    """Of the other side, without its port, which tells nothing where that side has dialled."""
    return stream.remote.rpartition(":")[0]
