"""The protocol between peers, over any transport: what a peer sends to its neighbours, and how it handles their frames.

A stream begins with a Hello each way. Then come predictions, acknowledgements and regular heartbeats, and at the end
a Goodbye. The decisions are pure functions: `edgekd.protocol.admission` decides who becomes a neighbour, and
`edgekd.protocol.members` how a frame changes the record of a neighbour. `peer/network/streams.py` handles a stream from
its beginning to its end. A hub runs on one asyncio loop; `peer/network/thread.py` runs that loop in a thread.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import torch

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.addresses import seen_from
from edgekd.protocol.admission import CUT_OFF_BECAUSE, Refusal
from edgekd.protocol.codec import decode
from edgekd.protocol.common_data import shard_differences
from edgekd.protocol.counts import Traffic
from edgekd.protocol.encodings import Packing
from edgekd.protocol.frames import fitting
from edgekd.protocol.guard import Guard
from edgekd.protocol.members import (
    Member,
    is_silent,
    on_disagreement,
    on_goodbye,
    on_heartbeat,
    on_predictions,
    on_refused_frame,
    on_replaced,
    seen_by,
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
    Training,
)
from edgekd.protocol.timing import LAN, Timing
from peer.network.connection import Connection
from peer.network.dialling import Dialler
from peer.network.door import Door, revoked_because
from peer.network.neighbours import Neighbours
from peer.network.news import News
from peer.network.outgoing import Outgoing
from peer.network.streams import Streams
from peer.network.tasks import Tasks
from peer.transports.base import Stream, StreamClosedError, Transport, as_bug, dial

MAX_DETAIL = 300  # characters of a remote peer's text in the log, at most
LOOKS = 4  # times per heartbeat interval that the hub looks for silent neighbours


@dataclass(frozen=True, slots=True)
class Arrival:
    """Predictions that have arrived from a neighbour and passed all checks."""

    peer: int
    instance: int
    round: int
    probs: torch.Tensor  # float32 [heads, rows, classes]


class Hub:
    """One peer's end of the protocol, for all its streams.

    Args:
        transport: makes the streams.
        hello: this peer's; the hub keeps its newest round up to date.
        peers: "HOST:PORT" or "ID@HOST:PORT" of the neighbours to dial. This peer's own address may be among them.
        lockstep: synchronous mode, in which predictions are queued and never replaced.
        packing: how predictions are encoded for neighbours that can read it.
        deliver: called on the loop with each `Arrival`.
        public: gives the bytes of the group's public file, for newcomers.
        allow: the ids that may be neighbours; None: any.
        changed: called on the loop whenever `members`, `refused` or `failure` have changed.
        timing: all time limits and intervals.
        clock: monotonic, in seconds. Time-outs of single frames use the loop's clock instead.
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
        timing: Timing = LAN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport, self._hello, self._peers = transport, hello, peers
        self._allow, self._deliver, self._changed = allow, deliver, changed
        self._timing, self._clock = timing, clock
        self._outgoing = Outgoing(packing, lockstep=lockstep)
        self._beat = Heartbeat(step=0, steps=0, round=-1, done=False)
        self._state, self._training = State.STARTING, Training()
        self._tasks = Tasks(self._on_bug)
        self._stream_tasks = Tasks(self._on_stream_bug)
        self._news, self._guard = News(), Guard()
        self._neighbours = Neighbours(self._log, changed)
        self.published = -1  # the newest round that this peer has published; -1: none
        self.refused: Counter[str] = Counter()  # by reason
        self.self_addresses: set[str] = set()  # dialled addresses that turned out to be this peer
        self.failure: BaseException | None = None  # a bug in edgekd, for the training thread to raise
        self._door = Door(
            hello=self.own_hello,
            status=self.status,
            public=public,
            refuse=self._refuse_frame,
            evict=self._evict,
            revoked=transport.revoked,
            timing=timing,
            clock=clock,
        )
        self._streams = Streams(
            self,
            self._door,
            self._neighbours,
            self._stream_tasks,
            allow=allow,
            is_cut_off=lambda id: self._guard.cut_off_for(id, clock()) > 0,
            timing=timing,
        )
        self._dialler = Dialler(
            self._dial,
            self._tasks.spawn,
            connected=self._neighbours.connections,
            own=self.self_addresses,
            expected=lambda id: id not in self.members or not self.members[id].done,  # a done peer may not return
            news=self._news,
            timing=timing,
            clock=clock,
        )

    @property
    def members(self) -> dict[int, Member]:
        """The record of each neighbour, by id."""
        return self._neighbours.members

    def traffic(self) -> Traffic:
        """The bytes and frames of predictions to and from all neighbours since the start."""
        return self._neighbours.traffic()

    # -- what the peer does ------------------------------------------------------------------------------------------

    async def start(self, listen: str | None) -> str:
        """Listen on "HOST:PORT" (None: only dial) and begin to dial; return the bound address, "" for none.

        Raises:
            ConfigError: the address cannot be bound.
        """
        bound = await self._transport.listen(listen, self._accept) if listen else ""
        if not self._hello.address:
            self._hello = replace(self._hello, address=bound)
        for address in self._peers:
            self._dialler.dial(address)
        self._tasks.spawn(self._watch())
        return bound

    def dial_also(self, address: str, id: int) -> None:
        """Dial one more address, at which peer `id` is said to listen, unless `id` is not allowed."""
        if self._allow is None or id in self._allow:
            self._dialler.dial(address, id)

    def forget(self, address: str) -> None:
        """Undo `dial_also`: stop dialling `address` as soon as a dial there fails."""
        if address not in self._peers:
            self._dialler.forget(address)

    def publish(self, round: int, log_probs: torch.Tensor) -> None:
        """Send predictions to every neighbour, and to later ones when they connect.

        Args:
            round: names the public batch that the predictions are about.
            log_probs: log-probabilities, ``[heads, rows, classes]`` in CPU memory.
        """
        self.published = max(self.published, round)
        self._outgoing.add(round, log_probs)
        for connection in self._neighbours.connections.values():
            if replaced := connection.publish(self._outgoing.newest(connection.packing)):
                self.members[connection.id] = on_replaced(self.members[connection.id], replaced)

    def tell(self, beat: Heartbeat, state: State) -> None:
        """Set the contents of heartbeats and of the status. If `done` changes, a heartbeat is sent at once.

        Args:
            beat: its round is ignored: the hub knows the newest round that it has published.
            state: of this peer.
        """
        at_once = beat.done != self._beat.done
        self._beat, self._state = beat, state
        if at_once:
            for connection in self._neighbours.connections.values():
                connection.send_soon(self.heartbeat())

    def note_disagreements(self, disagreements: Mapping[int, float]) -> None:
        """Set how far each neighbour disagrees with the others, by id, in [0, 1], for the status and the metrics."""
        for id, disagreement in disagreements.items():
            if id in self.members:
                self.members[id] = on_disagreement(self.members[id], disagreement)
        self._changed()

    def note_training(self, training: Training) -> None:
        """Set what the status says about the training."""
        self._training = training

    def status(self) -> Status:
        """Make this peer's status: its progress, its traffic and its neighbours."""
        members = [member for _, member in sorted(self.members.items())]
        traffic = self.traffic()
        status = Status(
            id=self._hello.id,
            state=self._state.value,
            step=self._beat.step,
            steps=self._beat.steps,
            round=self.published,
            accuracy=self._beat.accuracy,
            bytes_sent=traffic.bytes_sent,
            bytes_received=traffic.bytes_received,
            refused=dict(self.refused),
            neighbours=tuple(seen_by(member, self._beat.step) for member in members),
            **asdict(self._training),
        )
        return fitting(status)

    async def stop(self, goodbye: Goodbye) -> None:
        """Send all waiting frames and a goodbye, close every stream, and free the port.

        It takes at most `timing.close_timeout` plus the transport's time to close, about 2.5 s.
        """
        self._neighbours.leaving = True
        self._dialler.stop()
        for connection in list(self._neighbours.connections.values()):
            connection.send_soon(goodbye)
        await self._streams.finish()
        await self._tasks.cancel()
        await self._stream_tasks.cancel()
        await self._transport.close()

    # -- what the streams and the dialler call -----------------------------------------------------------------------

    async def _dial(self, address: str) -> int | None:
        stream = await dial(self._transport, address, timeout=self._timing.dial_timeout)
        return await self._streams.converse(stream, address)

    async def _accept(self, stream: Stream) -> None:
        if self._neighbours.leaving:  # a neighbour that redials at our goodbye would see this peer up again
            return
        await self._streams.converse(stream, None)

    def _evict(self, stream: Stream) -> None:
        """Close the stream of a stranger that has to make room for another one."""
        self.refused["busy"] += 1
        self._stream_tasks.spawn(stream.close())

    def own_hello(self) -> Hello:
        """Make this peer's Hello, with its newest round."""
        return replace(self._hello, newest_round=self.published)

    def heartbeat(self) -> Heartbeat:
        """Make a heartbeat: how far this peer is now."""
        return replace(self._beat, round=self.published)

    def connect(self, stream: Stream, hello: Hello, dialled_by: int) -> Connection:
        """Accept the other side as a neighbour; `dialled_by` is the id of the side that dialled."""
        packing = self._outgoing.packing_for(hello)
        outbox = self._outgoing.outbox(packing)
        connection = Connection(stream, hello, dialled_by, packing, outbox, timing=self._timing, clock=self._clock)
        if differing := shard_differences(self._hello, hello):
            otherwise = f"peer {hello.id} deals the common data set out otherwise, so shards overlap: {differing}"
            self._log(f"peer {hello.id} shards", logging.WARNING, otherwise)
        self._neighbours.connect(connection, seen_from(hello.address, stream.remote), self._clock())
        connection.send_soon(self.heartbeat())
        return connection

    def note_refusal(self, id: int, refusal: Refusal) -> None:
        """Count and log that a caller with this id was refused."""
        self.refused[refusal.reason] += 1
        self._log(f"peer {id} {refusal.reason}", logging.WARNING, refusal.here)
        self._changed()

    def note_own_address(self, address: str) -> None:
        """Note that an address that was dialled is this peer's own."""
        self.self_addresses.add(address)
        self._changed()

    def note_end(self) -> None:
        """Note that a neighbour's stream has ended, so that its address is dialled again."""
        self._dialler.lost()

    # -- what neighbours send ----------------------------------------------------------------------------------------

    async def read(self, connection: Connection) -> str:
        """Handle the frames of a stream until it ends; return the reason, for the log."""
        while True:
            try:
                frame = await self._receive(connection)
                if connection.id not in self.members:  # the neighbour is long gone and was forgotten
                    return "it was forgotten"
                self._take(connection, frame)
            except StreamClosedError:
                return "its stream ended"
            except RemoteProtocolError as error:
                if self._neighbours.is_current(connection):
                    self.members[connection.id] = on_refused_frame(self.members[connection.id], error.reason)
                self._refuse_frame(f"peer {connection.id}", error)
                if self._guard.note_refusal(connection.id, error.reason, self._clock()):
                    goodbye = Goodbye(parting=Parting.REFUSED, detail=CUT_OFF_BECAUSE)
                    with contextlib.suppress(asyncio.TimeoutError, StreamClosedError):
                        await asyncio.wait_for(connection.stream.send(goodbye), self._timing.close_timeout)
                    return CUT_OFF_BECAUSE
            else:
                if isinstance(frame, Goodbye):
                    return "it said goodbye"
            connection.heard.set()

    async def _receive(self, connection: Connection) -> Frame:
        """The next frame. An invalid frame counts against the rate limit, too."""
        try:
            return await connection.stream.receive()
        except RemoteProtocolError:
            self._guard.note_frame(connection.id, self._clock())
            raise

    def _take(self, connection: Connection, frame: Frame) -> None:
        """Handle one frame of a neighbour.

        Raises:
            RemoteProtocolError: the frame is refused.
        """
        now, id = self._clock(), connection.id
        member = self._neighbours.heard(connection, frame, now)
        if isinstance(frame, SoftPredictions):
            self._take_predictions(connection, frame, now)
            return
        if isinstance(frame, Ack) and connection.acked():  # not rate-limited: there are no more than predictions sent
            return
        self._guard.note_frame(id, now)
        if isinstance(frame, Ack):
            raise RemoteProtocolError("ack", "an acknowledgement of nothing")
        if isinstance(frame, Heartbeat):
            self.members[id] = on_heartbeat(member, frame)
            if frame.probe:
                connection.send_soon(self.heartbeat())
            self._changed()
        elif isinstance(frame, Goodbye):
            self.members[id] = on_goodbye(member, frame)
            if frame.parting is Parting.REFUSED:
                message = f"peer {id} refused this peer: {frame.detail[:MAX_DETAIL]}"
                self._log(f"peer {id} refused", logging.WARNING, message)
        else:
            raise RemoteProtocolError("hello", "a second Hello on one stream")

    def _take_predictions(self, connection: Connection, frame: SoftPredictions, now: float) -> None:
        try:
            self._guard.note_frame(connection.id, now)
            if frame.round <= connection.newest:
                raise RemoteProtocolError("old", "a round that is not above the newest it has spoken of")
            probs = decode(frame, self._hello.contract)
            self.members[connection.id] = on_predictions(self.members[connection.id], frame, self._beat.step)
            connection.newest = frame.round
            self._deliver(Arrival(connection.id, connection.hello.instance, frame.round, probs))
            self._changed()
        finally:  # a refused frame is acknowledged too: it is no longer in flight
            connection.acknowledge()

    # -- bookkeeping -------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._timing.heartbeat_every / LOOKS)
            self._look(self._clock())

    def _look(self, now: float) -> None:
        """Close the streams of neighbours that are silent, read nothing or have a revoked key; log held-back lines."""
        self._news.catch_up(now)
        revoked = self._transport.revoked()
        for id, connection in list(self._neighbours.connections.items()):
            goodbye = None
            if connection.stream.holder in revoked:
                why = revoked_because(id)
                goodbye = Goodbye(parting=Parting.REFUSED, detail=why)
                self.refused["revoked"] += 1
            elif is_silent(self.members[id], now, down_after=self._timing.down_after):
                why = f"silent for {self._timing.down_after:.0f} s"
            elif connection.is_stalled(now):
                why = f"it has read nothing for {self._timing.send_within:.0f} s"
            else:
                continue
            self._streams.drop(connection, goodbye)
            self._neighbours.down(id, why)
            self._dialler.lost()

    def _log(self, subject: str, level: int, message: str) -> None:
        self._news.say(subject, level, message, self._clock())

    def _refuse_frame(self, who: str, error: RemoteProtocolError) -> None:
        """Count and log that a frame was refused."""
        self.refused[error.reason] += 1
        self._log(f"{who} {error.reason}", logging.WARNING, f"refused a frame of {who}: {error}")
        self._changed()

    def _on_stream_bug(self, error: BaseException) -> None:
        """Count a bug that ended one stream as a refusal: nothing that a remote peer sends may end this peer."""
        self.refused["bug"] += 1
        self._log("bug", logging.ERROR, f"a stream has ended by {as_bug(error)}")
        self._changed()

    def _on_bug(self, error: BaseException) -> None:
        """Report a bug that ended one of the hub's own tasks: without that task the hub does not work."""
        self.failure = error
        self._changed()
