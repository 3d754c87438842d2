"""The protocol between peers, over any transport: who is there, what they say, what they are told. One asyncio loop.

A stream begins with a Hello each way; then predictions, acknowledgements, a heartbeat each second, and at the end a
Goodbye. All of a hub runs on one loop; `peer/network.py` gives it a thread of its own.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from edgekd.codec import decode, encode
from edgekd.errors import RemoteProtocolError
from edgekd.members import (
    DOWN_AFTER,
    HEARTBEAT_EVERY,
    MAX_NEIGHBOURS,
    PROBE_FOR,
    Member,
    beaten,
    differences,
    first_stays,
    is_plausible,
    is_silent,
    joined,
)
from edgekd.messages import Ack, Encoding, Frame, Goodbye, Heartbeat, Hello, Parting, SoftPredictions
from edgekd.outbox import Outbox
from edgekd.schedule import Rounds
from peer.transport import Stream, StreamClosedError, Transport

log = logging.getLogger("edgekd")

DIAL_TIMEOUT = 2.0  # seconds
BACKOFF_FIRST, BACKOFF_MAX = 0.2, 3.0  # seconds between two tries to dial
CLOSE_TIMEOUT = 2.0  # seconds that a goodbye may take
MAX_SUBJECTS = 256  # whose last message is remembered


@dataclass(frozen=True, slots=True)
class Arrival:
    """Predictions that came from a neighbour and were found sound."""

    peer: int
    instance: int
    round: int
    probs: torch.Tensor  # float32 [heads, rows, classes]


@dataclass(eq=False, slots=True)
class _Connection:
    """One stream after both Hellos."""

    stream: Stream
    hello: Hello  # the neighbour's
    dialled_by: int  # the id of the side that dialled
    outbox: Outbox
    encoding: Encoding  # of what it is sent: one that it can read
    wake: asyncio.Event = field(default_factory=asyncio.Event)  # there is something to send
    control: list[Frame] = field(default_factory=list)  # to be sent before predictions
    heard: asyncio.Event = field(default_factory=asyncio.Event)  # something came
    last_heard: float = 0.0


class Hub:
    """One peer's side of all its streams.

    Args:
        transport: makes the streams.
        hello: what this peer says of itself; its newest round is kept up to date.
        peers: "HOST:PORT" of the neighbours to dial; one's own address among them is fine.
        lockstep: synchronous mode: predictions are queued, never replaced.
        encoding: of the predictions it sends, to whoever can read it.
        deliver: called on the loop with each `Arrival`.
        changed: called on the loop whenever `members`, `rounds` or `refused` have changed.
    """

    def __init__(
        self,
        transport: Transport,
        hello: Hello,
        *,
        peers: tuple[str, ...],
        lockstep: bool,
        encoding: Encoding,
        deliver: Callable[[Arrival], None],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._transport, self._hello, self._peers = transport, hello, peers
        self._lockstep, self._encoding, self._deliver, self._changed = lockstep, encoding, deliver, changed
        self._connections: dict[int, _Connection] = {}
        self._recent: list[tuple[int, torch.Tensor]] = []  # rounds and predictions that a new stream starts with
        self._beat = Heartbeat(step=0, steps=0, round=-1, done=False)
        self._tasks: set[asyncio.Task[None]] = set()
        self._admitting = asyncio.Lock()  # one newcomer at a time, since a probe takes a second
        self._lost = asyncio.Event()  # set for a moment whenever a connection has gone
        self._closing = False
        self._said: dict[str, str] = {}  # last message by subject, so that a repeated one is not logged again
        self.members: dict[int, Member] = {}
        self.rounds = Rounds()
        self.refused: Counter[str] = Counter()
        self.self_addresses: set[str] = set()  # of `peers`, those that turned out to be this peer

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
            self._spawn(self._keep_dialling(address))
        self._spawn(self._watch())
        return bound

    def publish(self, round: int, log_probs: torch.Tensor) -> None:
        """Have every neighbour told, now or when it is up; `log_probs`: ``[heads, rows, classes]`` in CPU memory."""
        self.rounds = replace(self.rounds, published=max(self.rounds.published, round))
        self._recent = [*self._recent, (round, log_probs)][-2 if self._lockstep else -1 :]
        frames: dict[Encoding, SoftPredictions] = {}
        for connection in self._connections.values():
            if connection.encoding not in frames:
                frames[connection.encoding] = encode(log_probs, round, connection.encoding)
            connection.outbox.put(frames[connection.encoding])
            connection.wake.set()

    def tell(self, beat: Heartbeat) -> None:
        """What the heartbeats say from now on; where `done` changes, at once."""
        at_once = beat.done != self._beat.done
        self._beat = beat
        if at_once:
            for connection in self._connections.values():
                self._send_soon(connection, self._heartbeat())

    async def stop(self, goodbye: Goodbye) -> None:
        """Say goodbye after what is still to be sent, close every stream and free the port; at most some 4 seconds."""
        self._closing = True
        for connection in list(self._connections.values()):
            self._send_soon(connection, goodbye)
        saying = [t for t in self._tasks if t.get_name() == "converse"]
        if saying:
            await asyncio.wait(saying, timeout=CLOSE_TIMEOUT)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._transport.close()

    # -- streams -----------------------------------------------------------------------------------------------------

    async def _keep_dialling(self, address: str) -> None:
        """Dial `address` whenever the peer that lives there is not connected, for as long as this peer runs."""
        pause, id = BACKOFF_FIRST, None
        while not self._closing and address not in self.self_addresses:
            if id is not None and id in self._connections:
                self._lost.clear()
                await self._lost.wait()
                continue
            try:
                stream = await self._transport.dial(address, timeout=DIAL_TIMEOUT)
            except OSError as error:
                self._say(address, logging.INFO, f"cannot reach {address} yet, keep dialling: {error}")
            else:
                began = time.monotonic()
                id = await self._in_task(stream, address)
                if id in self._connections or time.monotonic() - began > BACKOFF_MAX:
                    pause = BACKOFF_FIRST
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # jitter: not a draw that learning depends on
            pause = min(pause * 1.6, BACKOFF_MAX)

    async def _in_task(self, stream: Stream, address: str) -> int | None:
        """Converse in a task of its own, which `stop` can wait for; returns the other's id."""
        ids: list[int] = []
        await self._spawn(self._converse(stream, dialled=address, ids=ids), "converse")
        return ids[0] if ids else None

    async def _accept(self, stream: Stream) -> None:
        if self._closing:  # a neighbour that redials on our goodbye would find us up for another moment
            return
        task = self._spawn(self._converse(stream, dialled=None, ids=[]), "converse")
        await asyncio.wait([task])

    async def _converse(self, stream: Stream, *, dialled: str | None, ids: list[int]) -> None:
        """All of one stream, from Hello to its end."""
        try:
            hello = await self._greet(stream)
            if hello is None:
                return
            if hello.instance == self._hello.instance:
                if dialled:
                    self.self_addresses.add(dialled)
                    self._changed()
                return
            ids.append(hello.id)
            connection = await self._admit(stream, hello, dialled)
            if connection is not None:
                await self._serve(connection)
        except StreamClosedError:
            pass
        except RemoteProtocolError as error:
            self._refuse(stream.remote, error)
        finally:
            await stream.close()

    async def _greet(self, stream: Stream) -> Hello | None:
        """Both Hellos; None if the other side sent something else first, or nothing."""
        await stream.send(replace(self._hello, newest_round=self.rounds.newest))
        try:
            frame = await asyncio.wait_for(stream.receive(), DOWN_AFTER)
        except asyncio.TimeoutError:
            return None
        if isinstance(frame, Hello):
            return frame
        if isinstance(frame, Goodbye):
            self._say(stream.remote, logging.WARNING, f"{stream.remote} refused this peer: {frame.detail}")
        else:
            self._refuse(stream.remote, RemoteProtocolError("hello", f"began with {type(frame).__name__}, not Hello"))
        return None

    async def _admit(self, stream: Stream, hello: Hello, dialled: str | None) -> _Connection | None:
        """Decide whether the stream stays; the connection if so."""
        why = await self._objection(stream, hello, dialled)
        if why is not None:
            with contextlib.suppress(StreamClosedError):
                await stream.send(why)
            return None
        return self._connect(stream, hello, dialled)

    async def _objection(self, stream: Stream, hello: Hello, dialled: str | None) -> Goodbye | None:
        who = f"peer {hello.id} at {hello.address or stream.remote}"
        if differing := differences(self._hello, hello):
            self.refused["contract"] += 1
            self._say(who, logging.WARNING, f"{who} cannot work with this peer: {'; '.join(differing)}")
            self._changed()
            theirs = "; ".join(differences(hello, self._hello))
            return Goodbye(parting=Parting.REFUSED, detail=f"peer {self._hello.id} cannot work with you: {theirs}")
        if hello.id == self._hello.id:
            return self._turn_away("id", f"{who} uses this peer's own id {hello.id}", stream)
        async with self._admitting:
            old = self._connections.get(hello.id)
            if old is None:
                known = len(self._connections) >= MAX_NEIGHBOURS and dialled is None
                return self._turn_away("full", f"{who}: {MAX_NEIGHBOURS} neighbours already", stream) if known else None
            if old.hello.instance == hello.instance:
                dialler = self._hello.id if dialled else hello.id
                if first_stays(first_dialled_by=old.dialled_by, second_dialled_by=dialler):
                    return Goodbye(parting=Parting.DUPLICATE)
                self._drop(old, Goodbye(parting=Parting.DUPLICATE))
            elif await self._is_alive(old):
                where = old.hello.address or old.stream.remote
                return self._turn_away(
                    "id", f"peer {hello.id} already runs at {where}; stop it or choose another --id", stream
                )
            else:
                self._drop(old, None)
        return None

    def _turn_away(self, reason: str, detail: str, stream: Stream) -> Goodbye:
        self.refused[reason] += 1
        self._say(stream.remote, logging.WARNING, f"refused {stream.remote}: {detail}")
        self._changed()
        return Goodbye(parting=Parting.REFUSED, detail=detail)

    async def _is_alive(self, connection: _Connection) -> bool:
        """Whether the neighbour at the other end answers within a second."""
        connection.heard.clear()
        self._send_soon(connection, replace(self._heartbeat(), probe=True))
        try:
            await asyncio.wait_for(connection.heard.wait(), PROBE_FOR)
        except asyncio.TimeoutError:
            return False
        return self._connections.get(connection.hello.id) is connection

    def _connect(self, stream: Stream, hello: Hello, dialled: str | None) -> _Connection:
        now = time.monotonic()
        dialler = self._hello.id if dialled else hello.id
        encoding = self._encoding if self._encoding in hello.encodings else hello.encodings[0]
        again = tuple(encode(log_probs, round, encoding) for round, log_probs in self._recent)
        outbox = Outbox(lockstep=self._lockstep, again=again)
        connection = _Connection(stream, hello, dialler, outbox, encoding, last_heard=now)
        before = self.members.get(hello.id)
        if before is None or not before.up:
            self._say(f"peer {hello.id}", logging.INFO, f"peer {hello.id} is up at {hello.address or stream.remote}")
        self._connections[hello.id] = connection
        self.members[hello.id] = joined(hello, stream.remote, now, before)
        self._hear(hello.newest_round)
        connection.control.append(self._heartbeat())
        self._changed()
        return connection

    def _drop(self, connection: _Connection, goodbye: Goodbye | None) -> None:
        """Take a connection out of use; its stream ends, with a goodbye if it gets one."""
        if self._connections.get(connection.hello.id) is connection:
            del self._connections[connection.hello.id]
        if goodbye is not None:
            self._send_soon(connection, goodbye)
        else:
            self._spawn(connection.stream.close())

    async def _serve(self, connection: _Connection) -> None:
        """Read and write until the stream ends; then its neighbour is down, unless it has another stream."""
        writing = self._spawn(self._write(connection))
        try:
            await self._read(connection)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            self._account(connection)
            if self._connections.get(connection.hello.id) is connection:
                del self._connections[connection.hello.id]
                self._down(connection.hello.id, "its stream ended")
            self._lost.set()

    async def _read(self, connection: _Connection) -> None:
        while True:
            try:
                frame = await connection.stream.receive()
                self._take(connection, frame)
            except StreamClosedError:
                return
            except RemoteProtocolError as error:
                self._refuse(f"peer {connection.hello.id}", error)
            else:
                if isinstance(frame, Goodbye):
                    return
            connection.last_heard = time.monotonic()
            connection.heard.set()

    def _take(self, connection: _Connection, frame: Frame) -> None:
        """One frame from a neighbour; raises RemoteProtocolError if it is to be refused."""
        id = connection.hello.id
        member = self.members[id]
        self.members[id] = replace(member, last_heard=time.monotonic())
        if isinstance(frame, SoftPredictions):
            self._take_predictions(connection, frame)
        elif isinstance(frame, Ack):
            connection.outbox.acked()
            connection.wake.set()
        elif isinstance(frame, Heartbeat):
            self.members[id] = beaten(self.members[id], frame, time.monotonic())
            self._hear(frame.round)
            if frame.probe:
                self._send_soon(connection, self._heartbeat())
            self._changed()
        elif isinstance(frame, Goodbye):
            if frame.parting is Parting.DONE:
                self.members[id] = replace(self.members[id], done=True)
            elif frame.parting is Parting.REFUSED:
                self._say(f"peer {id}", logging.WARNING, f"peer {id} refused this peer: {frame.detail}")
        else:
            raise RemoteProtocolError("hello", "a second Hello on one stream")

    def _take_predictions(self, connection: _Connection, frame: SoftPredictions) -> None:
        id = connection.hello.id
        try:
            if not is_plausible(frame.round, self.rounds.published):
                raise RemoteProtocolError("round", f"round {frame.round} is too far ahead")
            probs = decode(frame, self._hello.contract)
            member = self.members[id]
            self.members[id] = replace(
                member,
                bytes_received=member.bytes_received + len(frame.payload),
                round=max(member.round, frame.round),
            )
            self._hear(frame.round)
            self._deliver(Arrival(id, connection.hello.instance, frame.round, probs))
            self._changed()
        finally:  # a refused frame is acknowledged too: it is no longer in flight
            self._send_soon(connection, Ack(round=max(self.members[id].round, 0)))

    async def _write(self, connection: _Connection) -> None:
        """Send what there is to send; a heartbeat at least each second."""
        beat_at = time.monotonic() + HEARTBEAT_EVERY
        try:
            while True:
                while connection.control or not connection.outbox.empty:
                    frame = self._next(connection)
                    if frame is None:
                        break
                    await connection.stream.send(frame)
                    if isinstance(frame, SoftPredictions):
                        member = self.members[connection.hello.id]
                        sent = member.bytes_sent + len(frame.payload)
                        self.members[connection.hello.id] = replace(member, bytes_sent=sent)
                    if isinstance(frame, Goodbye):
                        await connection.stream.close()
                        return
                connection.wake.clear()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(connection.wake.wait(), max(0.0, beat_at - time.monotonic()))
                if time.monotonic() >= beat_at:
                    beat_at = time.monotonic() + HEARTBEAT_EVERY
                    connection.control.append(self._heartbeat())
        except StreamClosedError:
            await connection.stream.close()

    def _next(self, connection: _Connection) -> Frame | None:
        """Control frames first; a goodbye after the predictions that still wait."""
        if connection.control and not isinstance(connection.control[0], Goodbye):
            return connection.control.pop(0)
        predictions = connection.outbox.take()
        if predictions is None and connection.control and connection.outbox.empty:
            return connection.control.pop(0)
        return predictions

    # -- bookkeeping -------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Neighbours that have gone silent are down: their streams are closed."""
        while True:
            await asyncio.sleep(HEARTBEAT_EVERY / 4)
            now = time.monotonic()
            for id, connection in list(self._connections.items()):
                if is_silent(self.members[id], now):
                    self._drop(connection, None)
                    self._down(id, f"silent for {DOWN_AFTER:.0f} s")
                    self._lost.set()

    def _down(self, id: int, why: str) -> None:
        member = self.members[id]
        self.members[id] = replace(member, up=False)
        self._say(f"peer {id}", logging.INFO, f"peer {id} is {'done' if member.done else f'down: {why}'}")
        self._changed()

    def _account(self, connection: _Connection) -> None:
        member = self.members[connection.hello.id]
        self.members[connection.hello.id] = replace(member, replaced=member.replaced + connection.outbox.replaced)

    def _heartbeat(self) -> Heartbeat:
        return replace(self._beat, round=self.rounds.newest)

    def _hear(self, round: int) -> None:
        if is_plausible(round, self.rounds.published):
            self.rounds = self.rounds.hear(round)

    def _send_soon(self, connection: _Connection, frame: Frame) -> None:
        connection.control.append(frame)
        connection.wake.set()

    def _refuse(self, who: str, error: RemoteProtocolError) -> None:
        self.refused[error.reason] += 1
        self._say(f"{who} {error.reason}", logging.WARNING, f"refused a frame of {who}: {error}")
        self._changed()

    def _say(self, subject: str, level: int, message: str) -> None:
        """Log news, not repetitions."""
        if self._said.pop(subject, None) != message:
            log.log(level, message)
        self._said[subject] = message
        while len(self._said) > MAX_SUBJECTS:  # strangers choose their ports, so subjects are without number
            self._said.pop(next(iter(self._said)))

    def _spawn(self, work: Coroutine[Any, Any, None], name: str | None = None) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
