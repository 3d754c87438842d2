"""The protocol between peers, over any transport: who is there, what they say, what they are told. One asyncio loop.

A stream begins with a Hello each way; then predictions, acknowledgements, a heartbeat each second, and at the end a
Goodbye. All of a hub runs on one loop; `peer/network/thread.py` gives it a thread of its own.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.addresses import place, seen_from
from edgekd.protocol.admission import CUT_OFF_BECAUSE, Caller, Refusal, objection
from edgekd.protocol.codec import decode, encode
from edgekd.protocol.encodings import Packing
from edgekd.protocol.guard import Guard
from edgekd.protocol.members import (
    DOWN_AFTER,
    HEARTBEAT_EVERY,
    MAX_NEIGHBOURS,
    PROBE_FOR,
    Member,
    beaten,
    first_stays,
    is_plausible,
    is_silent,
    joined,
    seen_by,
    without_the_long_gone,
)
from edgekd.protocol.messages import (
    Ack,
    Frame,
    Goodbye,
    Heartbeat,
    Hello,
    Parting,
    SoftPredictions,
    State,
    Status,
)
from edgekd.protocol.outbox import Outbox
from edgekd.protocol.schedule import Rounds
from peer.network.connection import Connection
from peer.network.dialling import Dialler
from peer.network.door import CLOSE_TIMEOUT, Door, host
from peer.network.news import News
from peer.transports.base import Stream, StreamClosedError, Transport

DIAL_TIMEOUT = 2.0  # seconds
MAX_SAID = 300  # characters of a stranger's words in the log
# Why a frame is refused that was none of predictions, or of no news; a newer version may say more than this one knows.
NO_PREDICTIONS = frozenset({"unknown", "old", "ack", "hello", "text", "address"})


@dataclass(frozen=True, slots=True)
class Arrival:
    """Predictions that came from a neighbour and were found sound."""

    peer: int
    instance: int
    round: int
    probs: torch.Tensor  # float32 [heads, rows, classes]


class Hub:
    """One peer's side of all its streams.

    Args:
        transport: makes the streams.
        hello: what this peer says of itself; its newest round is kept up to date.
        peers: "HOST:PORT" of the neighbours to dial; one's own address among them is fine.
        lockstep: synchronous mode: predictions are queued, never replaced.
        packing: of the predictions it sends, to whoever can read it.
        deliver: called on the loop with each `Arrival`.
        public: the bytes of the group's public file, for a newcomer.
        allow: the ids that may be neighbours; None: any.
        changed: called on the loop whenever `members`, `rounds`, `refused` or `failure` have changed.
    """

    def __init__(
        self,
        transport: Transport,
        hello: Hello,
        *,
        peers: tuple[str, ...],
        lockstep: bool,
        packing: Packing,
        deliver: Callable[[Arrival], None],
        public: Callable[[], Iterable[bytes | memoryview]] = tuple,
        allow: frozenset[int] | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._transport, self._hello, self._peers = transport, hello, peers
        self._lockstep, self._packing, self._deliver, self._changed = lockstep, packing, deliver, changed
        self._allow = allow
        self._connections: dict[int, Connection] = {}
        self._recent: list[tuple[int, torch.Tensor]] = []  # rounds and predictions that a new stream starts with
        self._beat = Heartbeat(step=0, steps=0, round=-1, done=False)
        self._state = State.STARTING
        self._tasks: set[asyncio.Task[Any]] = set()
        self._conversations: set[asyncio.Task[Any]] = set()
        self._admitting = asyncio.Lock()  # one newcomer at a time, since a probe takes a second
        self._closing = False
        self._news, self._guard = News(), Guard()
        self.members: dict[int, Member] = {}
        self.rounds = Rounds()
        self.refused: Counter[str] = Counter()  # by reason
        self.self_addresses: set[str] = set()  # of those dialled, the ones that turned out to be this peer
        self.failure: BaseException | None = None  # a bug of ours, for the training thread to raise
        self._door = Door(hello=self._said_of_itself, status=self.status, public=public, refuse=self._refuse)
        self._dialler = Dialler(
            self._dial,
            self._spawn,
            connected=self._connections,
            own=self.self_addresses,
            expected=lambda id: id not in self.members or not self.members[id].done,  # who is done may be gone for good
            news=self._news,
        )

    # -- what the peer does ------------------------------------------------------------------------------------------

    async def start(self, listen: str | None) -> str:
        """Listen on "HOST:PORT" (None: only dial out) and begin to dial; returns the bound address, "" for none.

        Raises:
            ConfigError: the address cannot be bound.
        """
        bound = await self._transport.listen(listen, self._accept) if listen else ""
        if not self._hello.address:
            self._hello = replace(self._hello, address=bound)
        for address in self._peers:
            self._dialler.dial(address)
        self._spawn(self._watch())
        return bound

    def dial_also(self, address: str, id: int) -> None:
        """Dial "HOST:PORT" too, where peer `id` is said to listen, unless it is dialled already or not wanted."""
        if self._allow is None or id in self._allow:
            self._dialler.dial(address, id)

    def forget(self, address: str) -> None:
        """Take back `dial_also`: no longer dial "HOST:PORT" once nobody answers there."""
        if address not in self._peers:
            self._dialler.forget(address)

    def publish(self, round: int, log_probs: torch.Tensor) -> None:
        """Have every neighbour told, now or when it is up; `log_probs`: ``[heads, rows, classes]`` in CPU memory."""
        self.rounds = replace(self.rounds, published=max(self.rounds.published, round))
        self._recent = [*self._recent, (round, log_probs)][-2 if self._lockstep else -1 :]
        frames: dict[Packing, SoftPredictions] = {}
        for connection in self._connections.values():
            if connection.packing not in frames:
                frames[connection.packing] = encode(log_probs, round, connection.packing)
            if replaced := connection.publish(frames[connection.packing]):
                member = self.members[connection.id]
                self.members[connection.id] = replace(member, replaced=member.replaced + replaced)

    def tell(self, beat: Heartbeat, state: State) -> None:
        """Set what heartbeats and status say from now on. A heartbeat is sent at once if `done` changes.

        Args:
            beat: the hub puts its own round in.
            state: of the peer.
        """
        at_once = beat.done != self._beat.done
        self._beat, self._state = beat, state
        if at_once:
            for connection in self._connections.values():
                connection.send_soon(self._heartbeat())

    def note_disagreements(self, disagreements: Mapping[int, float]) -> None:
        """Set what status and metrics show: by id, how far each neighbour disagrees with the rest, in [0, 1]."""
        for id, disagreement in disagreements.items():
            if id in self.members:
                self.members[id] = replace(self.members[id], disagreement=disagreement)
        self._changed()

    def status(self) -> Status:
        """How this peer is."""
        members = [member for _, member in sorted(self.members.items())]
        return Status(
            id=self._hello.id,
            state=self._state.value,
            step=self._beat.step,
            steps=self._beat.steps,
            round=self.rounds.newest,
            accuracy=self._beat.accuracy,
            bytes_sent=sum(member.bytes_sent for member in members),
            bytes_received=sum(member.bytes_received for member in members),
            refused=dict(self.refused),
            neighbours=tuple(seen_by(member, self._beat.step) for member in members),
        )

    async def stop(self, goodbye: Goodbye) -> None:
        """Say goodbye after what is still to be sent, close every stream, free the port; at most some 3.5 s."""
        self._closing = True
        self._dialler.stop()
        for connection in list(self._connections.values()):
            connection.send_soon(goodbye)
        if self._conversations:
            await asyncio.wait(self._conversations, timeout=CLOSE_TIMEOUT)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._transport.close()

    # -- streams -----------------------------------------------------------------------------------------------------

    async def _dial(self, address: str) -> int | None:
        stream = await self._transport.dial(address, timeout=DIAL_TIMEOUT)
        return await self._converse_in_task(stream, address)

    async def _accept(self, stream: Stream) -> None:
        if self._closing:  # a neighbour that redials on our goodbye would find us up for another moment
            return
        if self._door.is_full:
            self.refused["busy"] += 1
            return
        await self._converse_in_task(stream, None)

    async def _converse_in_task(self, stream: Stream, dialled: str | None) -> int | None:
        """Converse in a task that outlives its caller, which `stop` can wait for."""
        task = self._spawn(self._converse(stream, dialled))
        self._conversations.add(task)
        task.add_done_callback(self._conversations.discard)
        await asyncio.wait([task])
        return None if task.cancelled() or task.exception() else task.result()

    async def _converse(self, stream: Stream, dialled: str | None) -> int | None:
        """All of one stream, from Hello to its end; returns the neighbour's id, if it became one.

        `dialled` is the address that this side dialled; None: the other side did.
        """
        hello = None
        try:
            hello, welcome = await self._meet(stream, dialled)
            if hello is not None and welcome:
                await self._serve(self._connect(stream, hello, dialled))
        except StreamClosedError:
            pass
        finally:
            await stream.close()
        return hello.id if hello else None

    async def _meet(self, stream: Stream, dialled: str | None) -> tuple[Hello | None, bool]:
        """The Hello of the other side, if that is one, and whether it may become a neighbour."""
        with contextlib.nullcontext() if dialled else self._door.stranger():
            hello = await self._door.greet(stream, dialled=dialled is not None)
            if hello is None or self._is_self(stream, hello, dialled):
                return None, False
            goodbye = await self._objection(stream, hello, dialled)
            if goodbye is not None:
                await self._door.send_away(stream, goodbye)
            return hello, goodbye is None

    def _is_self(self, stream: Stream, hello: Hello, dialled: str | None) -> bool:
        if hello.instance != self._hello.instance or stream.peer_id not in (None, self._hello.id):
            return False
        if dialled:
            self.self_addresses.add(dialled)
            self._changed()
        return True

    async def _objection(self, stream: Stream, hello: Hello, dialled: str | None) -> Goodbye | None:
        """The goodbye to somebody who cannot stay; None: welcome. An older stream of the same peer may have to go."""
        where = seen_from(hello.address, stream.remote) if hello.address else host(stream)  # the port: no news
        caller = Caller(
            where=where,
            ours=seen_from(self._hello.address, stream.remote),
            proved=stream.peer_id,
            dialled=place(dialled)[0] if dialled else None,
            cut_off=self._guard.cut_off_for(hello.id, time.monotonic()) > 0,
        )
        if refusal := objection(self._hello, hello, caller, self._allow):
            return self._turn_away(hello, refusal)
        async with self._admitting:
            old = self._connections.get(hello.id)
            if old is None:
                if dialled or len(self._connections) < MAX_NEIGHBOURS:
                    return None
                message = f"peer {hello.id} at {where}: {MAX_NEIGHBOURS} neighbours are connected already"
                return self._turn_away(hello, Refusal("full", message, message))
            if old.hello.instance == hello.instance:
                dialler = self._hello.id if dialled else hello.id
                if first_stays(first_dialled_by=old.dialled_by, second_dialled_by=dialler):
                    return Goodbye(parting=Parting.DUPLICATE)
                self._drop(old, Goodbye(parting=Parting.DUPLICATE))
            elif await self._is_alive(old):
                first = self.members[hello.id].address
                message = f"peer {hello.id} already runs at {first}; stop it or choose another --id"
                return self._turn_away(hello, Refusal("id", f"refused {where}: {message}", message))
            else:
                self._drop(old, None)
        return None

    def _turn_away(self, hello: Hello, refusal: Refusal) -> Goodbye:
        self.refused[refusal.reason] += 1
        self._say(f"peer {hello.id} {refusal.reason}", logging.WARNING, refusal.here)
        self._changed()
        return Goodbye(parting=Parting.REFUSED, detail=refusal.there)

    async def _is_alive(self, connection: Connection) -> bool:
        """Whether the neighbour at the other end answers within a second."""
        connection.heard.clear()
        connection.send_soon(replace(self._heartbeat(), probe=True))
        try:
            await asyncio.wait_for(connection.heard.wait(), PROBE_FOR)
        except asyncio.TimeoutError:
            return False
        return self._connections.get(connection.id) is connection

    def _connect(self, stream: Stream, hello: Hello, dialled: str | None) -> Connection:
        before = self.members.get(hello.id)
        member = joined(hello, seen_from(hello.address, stream.remote), time.monotonic(), before)
        if before is None or before.instance != hello.instance or not before.up:
            member = replace(member, up=False)  # until its first frame: it may refuse this peer
        packing = self._packing if self._packing.encoding in hello.encodings else Packing(hello.encodings[0])
        again = tuple(encode(log_probs, round, packing) for round, log_probs in self._recent)
        dialler = self._hello.id if dialled else hello.id
        outbox = Outbox(lockstep=self._lockstep, again=again)
        connection = Connection(stream, hello, dialler, packing, outbox)
        self._connections[hello.id] = connection
        self.members = without_the_long_gone({**self.members, hello.id: member}, self._connections)
        self._hear(hello.newest_round)
        connection.send_soon(self._heartbeat())
        self._changed()
        return connection

    def _drop(self, connection: Connection, goodbye: Goodbye | None) -> None:
        """Take a connection out of use; its stream ends, with a goodbye if it gets one."""
        if self._connections.get(connection.id) is connection:
            del self._connections[connection.id]
        if goodbye is not None:
            connection.send_soon(goodbye)
        self._spawn(self._close(connection, 0.0 if goodbye is None else CLOSE_TIMEOUT))

    async def _close(self, connection: Connection, after: float) -> None:
        """End a stream after some seconds: a goodbye that waits for acknowledgements may wait for ever."""
        await asyncio.sleep(after)
        await connection.stream.close()

    async def _serve(self, connection: Connection) -> None:
        """Read and write until the stream ends; then its neighbour is down, unless it has another stream."""

        def sent(frame: SoftPredictions) -> None:
            member = self.members[connection.id]
            self.members[connection.id] = replace(member, bytes_sent=member.bytes_sent + len(frame.payload))

        writing = self._spawn(connection.write(self._heartbeat, sent))
        why = ""
        try:
            why = await self._read(connection)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            if self._connections.get(connection.id) is connection:
                del self._connections[connection.id]
                self._down(connection.id, why)
            self._dialler.lost()

    # -- what neighbours say -----------------------------------------------------------------------------------------

    async def _read(self, connection: Connection) -> str:
        """Take what comes until the stream ends; why it did."""
        while True:
            try:
                frame = await self._receive(connection)
                if connection.id not in self.members:  # dropped long ago, and forgotten since
                    return "it was forgotten"
                self._take(connection, frame)
            except StreamClosedError:
                return "its stream ended"
            except RemoteProtocolError as error:
                if error.reason not in NO_PREDICTIONS and self._connections.get(connection.id) is connection:
                    self.members[connection.id] = replace(self.members[connection.id], unsound=True)
                self._refuse(f"peer {connection.id}", error)
                if self._guard.note_refusal(connection.id, error.reason, time.monotonic()):
                    goodbye = Goodbye(parting=Parting.REFUSED, detail=CUT_OFF_BECAUSE)
                    with contextlib.suppress(asyncio.TimeoutError, StreamClosedError):
                        await asyncio.wait_for(connection.stream.send(goodbye), CLOSE_TIMEOUT)
                    return CUT_OFF_BECAUSE
            else:
                if isinstance(frame, Goodbye):
                    return "it said goodbye"
            connection.heard.set()

    async def _receive(self, connection: Connection) -> Frame:
        """The next frame; what cannot be read counts as one, too."""
        try:
            return await connection.stream.receive()
        except RemoteProtocolError:
            self._guard.note_frame(connection.id, time.monotonic())
            raise

    def _take(self, connection: Connection, frame: Frame) -> None:
        """One frame from a neighbour; raises RemoteProtocolError if it is to be refused."""
        now = time.monotonic()
        member = self.members[connection.id] = replace(self.members[connection.id], last_heard=now)
        if not member.up and not isinstance(frame, Goodbye) and self._connections.get(connection.id) is connection:
            member = self.members[connection.id] = replace(member, up=True)
            self._say(f"peer {connection.id}", logging.INFO, f"peer {connection.id} is up at {member.address}")
            self._changed()
        if isinstance(frame, SoftPredictions):
            self._take_predictions(connection, frame, now)
            return
        if isinstance(frame, Ack) and connection.acked():  # bounded by what it was sent
            return
        self._guard.note_frame(connection.id, now)
        if isinstance(frame, Ack):
            raise RemoteProtocolError("ack", "an acknowledgement of nothing")
        if isinstance(frame, Heartbeat):
            self.members[connection.id] = beaten(member, frame, now)
            self._hear(frame.round)
            if frame.probe:
                connection.send_soon(self._heartbeat())
            self._changed()
        elif isinstance(frame, Goodbye):
            if frame.parting is Parting.DONE:
                self.members[connection.id] = replace(member, done=True)
            elif frame.parting is Parting.REFUSED:
                message = f"peer {connection.id} refused this peer: {frame.detail[:MAX_SAID]}"
                self._say(f"peer {connection.id} refused", logging.WARNING, message)
        else:
            raise RemoteProtocolError("hello", "a second Hello on one stream")

    def _take_predictions(self, connection: Connection, frame: SoftPredictions, now: float) -> None:
        try:
            self._guard.note_frame(connection.id, now)
            if not is_plausible(frame.round, self.rounds.published):
                raise RemoteProtocolError("round", f"round {frame.round} is too far ahead")
            if frame.round <= connection.newest:
                raise RemoteProtocolError("old", "a round that is not above the newest it has spoken of")
            probs = decode(frame, self._hello.contract)
            member = self.members[connection.id]
            received = member.bytes_received + len(frame.payload)
            self.members[connection.id] = replace(
                member,
                bytes_received=received,
                round=max(member.round, frame.round),
                arrived=self._beat.step,
                unsound=False,
            )
            connection.newest = frame.round
            self._hear(frame.round)
            self._deliver(Arrival(connection.id, connection.hello.instance, frame.round, probs))
            self._changed()
        finally:  # a refused frame is acknowledged too: it is no longer in flight
            connection.send_soon(Ack(round=max(connection.newest, 0)))

    # -- bookkeeping -------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Neighbours that have gone silent are down: their streams are closed. What was held back is said."""
        while True:
            await asyncio.sleep(HEARTBEAT_EVERY / 4)
            now = time.monotonic()
            self._news.catch_up(now)
            for id, connection in list(self._connections.items()):
                if is_silent(self.members[id], now):
                    self._drop(connection, None)
                    self._down(id, f"silent for {DOWN_AFTER:.0f} s")
                    self._dialler.lost()

    def _down(self, id: int, why: str) -> None:
        was_up, member = self.members[id].up, replace(self.members[id], up=False)
        self.members[id] = member
        if was_up and not self._closing:  # else it is this peer that leaves
            self._say(f"peer {id}", logging.INFO, f"peer {id} is {'done' if member.done else f'down: {why}'}")
        self._changed()

    def _say(self, subject: str, level: int, message: str) -> None:
        self._news.say(subject, level, message, time.monotonic())

    def _said_of_itself(self) -> Hello:
        return replace(self._hello, newest_round=self.rounds.newest)

    def _heartbeat(self) -> Heartbeat:
        return replace(self._beat, round=self.rounds.newest)

    def _hear(self, round: int) -> None:
        if is_plausible(round, self.rounds.published):
            self.rounds = self.rounds.hear(round)
        else:
            self.refused["round"] += 1

    def _refuse(self, who: str, error: RemoteProtocolError) -> None:
        self.refused[error.reason] += 1
        self._say(f"{who} {error.reason}", logging.WARNING, f"refused a frame of {who}: {error}")
        self._changed()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failure = task.exception()
            self._changed()
