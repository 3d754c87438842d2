"""The streams of one peer, each from its Hellos to its end. The hub decides what is sent over them."""

import asyncio
import contextlib
from collections.abc import Callable, Container
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from edgekd.protocol.addresses import place, seen_from
from edgekd.protocol.admission import Caller, Decision, Incumbent, Refusal, Verdict, admit, busy
from edgekd.protocol.messages import Goodbye, Heartbeat, Hello
from edgekd.protocol.timing import Timing
from peer.network.connection import Connection
from peer.network.door import Door, host
from peer.network.neighbours import Neighbours
from peer.network.tasks import Tasks
from peer.network.turns import Turns
from peer.transports.base import Stream, StreamClosedError


class Speaker(Protocol):
    """The owner of the streams, which is the hub."""

    def own_hello(self) -> Hello:
        """Make this peer's Hello, with its newest round."""

    def heartbeat(self) -> Heartbeat:
        """Make a heartbeat: how far this peer is now."""

    def connect(self, stream: Stream, hello: Hello, dialled_by: int) -> Connection:
        """Accept the other side as a neighbour; `dialled_by` is the id of the side that dialled."""

    async def read(self, connection: Connection) -> str:
        """Read frames until the stream ends; return the reason, for the log."""

    def note_refusal(self, id: int, refusal: Refusal) -> None:
        """Note that a caller with this id was refused."""

    def note_own_address(self, address: str) -> None:
        """Note that an address that was dialled is this peer's own."""

    def note_end(self) -> None:
        """Note that a neighbour's stream has ended."""


class Streams:
    """All streams of one peer.

    Args:
        speaker: decides what is sent over the streams.
        door: exchanges the Hellos.
        neighbours: the table into which the streams are entered.
        tasks: runs one task that reads and one that writes for each stream.
        allow: the ids that may be neighbours; None: any.
        is_cut_off: whether an id is shut out for a while, after too many refused frames.
        timing: how long a probe and a goodbye may take.
    """

    def __init__(
        self,
        speaker: Speaker,
        door: Door,
        neighbours: Neighbours,
        tasks: Tasks,
        *,
        allow: Container[int] | None,
        is_cut_off: Callable[[int], bool],
        timing: Timing,
    ) -> None:
        self._speaker, self._door, self._neighbours, self._tasks = speaker, door, neighbours, tasks
        self._allow, self._is_cut_off, self._timing = allow, is_cut_off, timing
        self._turns = Turns()
        self.conversations: set[asyncio.Task[Any]] = set()  # one for each stream, from before its Hellos

    async def converse(self, stream: Stream, dialled: str | None) -> int | None:
        """Handle one stream from its beginning to its end, in a task that goes on if the caller is cancelled.

        Args:
            stream: a new one.
            dialled: the address that this side has dialled; None: the other side has dialled.

        Returns:
            The id in the other side's Hello; None: it has sent no Hello, or it is this peer itself.
        """
        task = self._tasks.spawn(self._converse(stream, dialled))
        self.conversations.add(task)
        task.add_done_callback(self.conversations.discard)
        await asyncio.wait([task])
        return None if task.cancelled() or task.exception() else task.result()

    def drop(self, connection: Connection, goodbye: Goodbye | None) -> None:
        """Stop using a connection and end its stream, after a goodbye if one is given."""
        self._neighbours.disconnect(connection)
        if goodbye is not None:
            connection.send_soon(goodbye)
        # A goodbye that waits for acknowledgements may wait for ever.
        self._tasks.spawn(_close(connection, 0.0 if goodbye is None else self._timing.close_timeout))

    async def finish(self) -> None:
        """Wait up to `timing.close_timeout` seconds until all streams have ended."""
        if self.conversations:
            await asyncio.wait(self.conversations, timeout=self._timing.close_timeout)

    async def _converse(self, stream: Stream, dialled: str | None) -> int | None:
        hello = None
        try:
            hello, welcome = await self._meet(stream, dialled)
            if hello is not None and welcome:
                dialled_by = self._speaker.own_hello().id if dialled else hello.id
                await self._serve(self._speaker.connect(stream, hello, dialled_by))
        except StreamClosedError:
            pass
        finally:
            await stream.close()
        return hello.id if hello else None

    async def _meet(self, stream: Stream, dialled: str | None) -> tuple[Hello | None, bool]:
        """Exchange Hellos and decide on the other side.

        Returns:
            The other side's Hello, None if there is none or it is this peer itself; and whether it is accepted.
        """
        with contextlib.nullcontext() if dialled else self._door.stranger(stream):
            theirs = await self._door.greet(stream, dialled=dialled is not None)
            if theirs is None:
                return None, False
            decision = await self._decide(theirs, self._caller(stream, theirs, dialled))
            if decision.verdict is Verdict.SELF:
                if dialled:
                    self._speaker.note_own_address(dialled)
                return None, False
            if decision.refusal is not None:
                self._speaker.note_refusal(theirs.id, decision.refusal)
            if decision.goodbye is not None:
                await self._door.send_away(stream, decision.goodbye)
            return theirs, decision.goodbye is None

    def _caller(self, stream: Stream, theirs: Hello, dialled: str | None) -> Caller:
        return Caller(
            where=seen_from(theirs.address, stream.remote) if theirs.address else host(stream),  # no random port
            ours=seen_from(self._speaker.own_hello().address, stream.remote),
            we_dialled=dialled is not None,
            expected=place(dialled)[0] if dialled else None,
            proved=stream.holder,
            cut_off=self._is_cut_off(theirs.id),
        )

    async def _decide(self, theirs: Hello, caller: Caller) -> Decision:
        """Decide on a caller. This may probe the incumbent (the stream that its id has already) and end it."""
        decision = self._ask(theirs, caller, self._incumbent(theirs.id))
        if decision.verdict in (Verdict.SELF, Verdict.REFUSE):  # these need not wait for another caller's probe
            return decision
        if self._turns.is_full(theirs.id):
            return busy(theirs, caller)
        async with self._turns.take(theirs.id):
            connection, incumbent = self._neighbours.connections.get(theirs.id), self._incumbent(theirs.id)
            decision = self._ask(theirs, caller, incumbent)
            if connection is None or incumbent is None:
                return decision
            if decision.verdict is Verdict.PROBE:
                answered = await self._answers(connection)
                decision = self._ask(theirs, caller, replace(incumbent, answered=answered))
            if decision.verdict is Verdict.REPLACE:
                self.drop(connection, decision.farewell)
            return decision

    def _ask(self, theirs: Hello, caller: Caller, incumbent: Incumbent | None) -> Decision:
        ours, connected = self._speaker.own_hello(), len(self._neighbours.connections)
        return admit(ours, theirs, caller, incumbent, allow=self._allow, connected=connected)

    def _incumbent(self, id: int) -> Incumbent | None:
        if (connection := self._neighbours.connections.get(id)) is None:
            return None
        address = self._neighbours.members[id].address
        return Incumbent(instance=connection.hello.instance, dialled_by=connection.dialled_by, address=address)

    async def _answers(self, connection: Connection) -> bool:
        """Probe the neighbour: whether a frame arrives within `timing.probe_for` seconds."""
        connection.heard.clear()
        connection.send_soon(replace(self._speaker.heartbeat(), probe=True))
        try:
            await asyncio.wait_for(connection.heard.wait(), self._timing.probe_for)
        except asyncio.TimeoutError:
            return False
        return self._neighbours.is_current(connection)

    async def _serve(self, connection: Connection) -> None:
        """Read and write until the stream ends. Then the neighbour is down, unless it has another stream."""
        sent = partial(self._neighbours.sent, connection)
        writing = self._tasks.spawn(connection.write(self._speaker.heartbeat, sent))
        why = ""
        try:
            why = await self._speaker.read(connection)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            if self._neighbours.disconnect(connection):
                self._neighbours.down(connection.id, why)
            self._speaker.note_end()


async def _close(connection: Connection, after: float) -> None:
    """End a stream after `after` seconds."""
    await asyncio.sleep(after)
    await connection.stream.close()
