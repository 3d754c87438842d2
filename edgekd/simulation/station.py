"""One peer of the asynchronous simulation: what the process does around a learner and its exchange.

Four moments of a step count. At its beginning, the peer looks at what has arrived and decides what to teach. When the
teaching pass is done, the predictions are sent. When the pass on the private batch is done, the lesson is chosen. Then
the step ends.
"""

import math
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, Protocol

from edgekd.protocol.codec import decode
from edgekd.protocol.exchange import Start, Teach
from edgekd.protocol.members import Member, joined, on_down, on_frame, on_goodbye, on_heartbeat, on_predictions
from edgekd.protocol.messages import (
    MAJOR,
    MINOR,
    Contract,
    Encoding,
    Frame,
    Goodbye,
    Heartbeat,
    Hello,
    Parting,
    SoftPredictions,
)
from edgekd.protocol.timing import LAN
from edgekd.protocol.waiting import Waiting
from edgekd.simulation.box import Box, StepReport
from edgekd.simulation.events import TICKS, Kind, Queue
from edgekd.simulation.links import Links, Sent

TAUGHT, PICKED = 0.115, 0.237  # fractions of a step, measured on a real peer: ResNet18, batches of 32 images of 32 px
_NEVER = 2.0**60  # ticks; longer than any simulation
FAR = 2**40  # the first round that a liar with `liar_frames` claims


class Phase(Enum):
    """What a simulated peer is doing."""

    OFF = "off"
    WAITING = "waiting"
    TRAINING = "training"
    LINGERING = "lingering"
    DONE = "done"


class Pending(Protocol):
    """A running computation; `result` waits for its end."""

    def result(self) -> Any: ...


Submit = Callable[..., Pending]


class Station:
    """One simulated peer with its process.

    Args:
        box: its learner and its exchange.
        queue: the virtual clock.
        links: the streams that carry its frames.
        contract: the group's contract.
        submit: starts a computation and returns at once.
        step_ticks: step number -> the ticks that it takes.
        offset: ticks between the moment when it may begin and its first step.
        step_seconds: the seconds in a unit.
        steps: the number of steps that it will do.
        liar_frames: for a liar, how many frames about false rounds it sends in a step; 0: it uses the group's rounds.
        report: is called after each step.
        left: is called with its id when it has left for good.
    """

    def __init__(
        self,
        box: Box,
        queue: Queue,
        links: Links,
        contract: Contract,
        submit: Submit,
        *,
        step_ticks: Callable[[int], int],
        offset: int,
        step_seconds: float,
        steps: int,
        liar_frames: int = 0,
        report: Callable[[StepReport], None],
        left: Callable[[int], None],
    ) -> None:
        self.id, self.box, self._queue, self._links, self._contract = box.id, box, queue, links, contract
        self._submit, self._step_ticks, self._offset, self._steps = submit, step_ticks, offset, steps
        self._second, self._liar_frames, self._report, self._left = TICKS / step_seconds, liar_frames, report, left
        self.state = Phase.OFF
        self.instance = 0  # number of its starts
        self.step = 0  # number of steps done
        self.members: dict[int, Member] = {}
        self.replaced = 0
        self._arrived: Waiting[tuple[int, Sent]] = Waiting()
        self._newest: Sent | None = None
        self._started = 0  # tick
        self._wakes: set[int] = set()  # ticks at which it will decide again what to do
        self._trained = 0, 0  # steps and ticks since its start
        self._teaching: Pending | None = None  # the newest teaching pass
        self._learning: Pending | None = None  # the running step
        self._own_round = FAR

    # -- on and off --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Switch the peer on."""
        self.instance += 1
        self.state, self.step = Phase.WAITING, self.box.learner.step
        self._wakes, self._trained = set(), (0, 0)
        self._teaching = self._learning = None
        self.members, self._arrived, self._newest = {}, Waiting(), None
        self._started = self._queue.now
        self._later(max(1.0, self._second * LAN.heartbeat_every), self._beat)
        self._wake(0)

    def stop(self) -> None:
        """Switch the peer off: nothing that it had planned happens any more. A running pass or step is finished."""
        if self._teaching is not None:
            self._teaching.result()
        if self._learning is not None:
            self._end_step(self._learning)
        self.state = Phase.OFF

    @property
    def is_on(self) -> bool:
        """Whether it is on and has not left."""
        return self.state not in (Phase.OFF, Phase.DONE)

    def greet(self, neighbour: int) -> None:
        """Open a stream to `neighbour`: send a Hello, then a heartbeat, then the newest predictions again."""
        self._links.open(self.id, neighbour, self._newest)
        self._links.say_to(self.id, neighbour, self._hello())
        self._links.say_to(self.id, neighbour, self._heartbeat())
        self._links.start(self.id)

    def _hello(self) -> Hello:
        return Hello(
            major=MAJOR,
            minor=MINOR,
            id=self.id,
            instance=self.instance,
            contract=self._contract,
            encodings=tuple(Encoding),
            newest_round=self._published,
            address="",
        )

    # -- what arrives ------------------------------------------------------------------------------------------------

    def receive(self, sender: int, what: Sent | Frame) -> None:
        """Take a frame that has arrived from a neighbour."""
        if not self.is_on:
            return
        if isinstance(what, Hello):
            self.members[sender] = joined(what, "", self._now, self.members.get(sender))
        elif sender in self.members:
            self.members[sender] = self._taken(sender, what)
        self._wake(0)

    def _taken(self, sender: int, what: Sent | Frame) -> Member:
        """The neighbour's record after a frame."""
        frame = what.frame if isinstance(what, Sent) else what
        member = on_frame(self.members[sender], frame, self._now, current=True)
        if isinstance(what, Sent):
            self._keep(sender, what)
            self.box.bytes_received += len(what.frame.payload)
            return on_predictions(member, what.frame, self.step)
        if isinstance(frame, Heartbeat):
            return on_heartbeat(member, frame)
        return on_down(on_goodbye(member, frame)) if isinstance(frame, Goodbye) else member

    def _keep(self, sender: int, what: Sent) -> None:
        """Keep predictions until they are looked at; as in a real peer, only the newest of each neighbour."""
        self._arrived.put(sender, (sender, what))

    def miss(self, neighbour: int) -> None:
        """Note that `neighbour` is gone without a goodbye; it is down after some time of silence."""
        member = self.members.get(neighbour)
        if member is None or not member.up:
            return

        def mark_down() -> None:
            now = self.members[neighbour]
            if now.instance == member.instance:  # otherwise it has come back
                self.members[neighbour] = on_down(now)
                self._wake(0)

        self._later((member.last_heard + LAN.down_after - self._now) * self._second, mark_down)

    def _look(self) -> list[Member]:
        for sender, sent in self._arrived.take():
            self.box.exchange.post(sender, sent.instance, sent.frame.round, sent.probs, self.step)
        return [member for _, member in sorted(self.members.items())]

    # -- what it does ------------------------------------------------------------------------------------------------

    def _consider(self) -> None:
        if self.state is Phase.WAITING:
            waited = (self._queue.now - self._started) / self._second
            if self.box.exchange.may_begin(self._look(), waited=waited) is Start.WAIT:
                self._rest(self.box.exchange.start_timeout - waited)
            else:
                self.state = Phase.TRAINING
                self._later(self._offset, self._begin)
        elif self.state is Phase.LINGERING:
            do = self.box.exchange.linger(self._now, self._look())
            if do is None:
                self._leave()
            elif isinstance(do, Teach):
                self._teach(do, self._step_ticks(self.step))
                self._wake(0)
            else:
                self._rest(do.until - self._now)

    def _begin(self) -> None:
        if self.box.exchange.is_done(self.step):
            self._finish()
            return
        self.box.exchange.heed(self.box.learner.disagreements)
        group, ticks = self._look(), self._step_ticks(self.step)
        if self._liar_frames:
            for k in range(self._liar_frames):
                self._later(k * ticks // self._liar_frames, self._lie)
        elif teach := self.box.exchange.teach(self.step, group):
            self._teach(teach, ticks)
        self._later(round(PICKED * ticks), partial(self._pick, self._queue.now + ticks))
        self._trained = self._trained[0] + 1, self._trained[1] + ticks

    def _teach(self, teach: Teach, step_ticks: int) -> None:
        """Start a teaching pass, in a step or while lingering; the predictions are sent when it is done."""
        predictions = self._teaching = self._submit(self.box.broadcast, teach)
        self._later(round(TAUGHT * step_ticks), lambda: self._publish(predictions.result()))

    def _lie(self) -> None:
        self._own_round += 1
        if self._learning is not None:  # a learner never computes two things at once
            self._learning.result()
        self._publish(self._submit(self.box.broadcast, Teach(self._own_round)).result())

    def _pick(self, ends: int) -> None:
        lesson = self.box.exchange.lesson(self.step, self._look())
        self._learning = self._submit(self.box.step, lesson)
        self._later(ends - self._queue.now, partial(self._end, self._learning))

    def _end(self, learning: Pending) -> None:
        self._end_step(learning)
        self._begin()

    def _end_step(self, learning: Pending) -> None:
        report: StepReport = learning.result()
        self._learning, self.step = None, report.step
        self._report(report)

    def _finish(self) -> None:
        self.state = Phase.LINGERING
        steps, ticks = self._trained
        self.box.exchange.begin_lingering(self._now, seconds_a_step=ticks / max(1, steps) / self._second)
        self._links.say(self.id, self._heartbeat())
        self._consider()

    def _leave(self) -> None:
        self._links.say(self.id, Goodbye(parting=Parting.DONE))
        self._links.close(self.id)
        self.state = Phase.DONE
        self._left(self.id)

    def _publish(self, frame: SoftPredictions) -> None:
        self._newest = Sent(frame, decode(frame, self._contract), self.instance)
        self.replaced += self._links.publish(self.id, self._newest)

    def _beat(self) -> None:
        self._links.say(self.id, self._heartbeat())
        self._later(max(1.0, self._second * LAN.heartbeat_every), self._beat)

    def _heartbeat(self) -> Heartbeat:
        done = self.box.exchange.is_done(self.step)
        return Heartbeat(step=self.step, steps=self._steps, round=self._published, done=done)

    @property
    def _published(self) -> int:
        """The newest round whose predictions were sent; -1: none. The exchange may already have chosen a newer one."""
        return self._newest.frame.round if self._newest else -1

    # -- time --------------------------------------------------------------------------------------------------------

    @property
    def _now(self) -> float:
        """The time of the virtual clock, in seconds."""
        return self._queue.now / self._second

    def _rest(self, seconds: float) -> None:
        """Decide again what to do after some seconds. The ticks are rounded up, since earlier would be too early."""
        self._wake(max(1.0, math.ceil(min(seconds * self._second, _NEVER))))

    def _wake(self, ticks: float) -> None:
        """Decide again what to do after some ticks, unless this is already planned for the same tick."""
        if self.state not in (Phase.WAITING, Phase.LINGERING) or ticks >= _NEVER:
            return
        at = self._queue.now + max(0, round(ticks))
        if at not in self._wakes:
            self._wakes.add(at)
            self._later(ticks, partial(self._woken, at))

    def _woken(self, at: int) -> None:
        self._wakes.discard(at)
        self._consider()

    def _later(self, ticks: float, do: Callable[[], None]) -> None:
        """Call `do` after some ticks, unless the peer is off by then or was started again."""
        instance = self.instance

        def if_on() -> None:
            if self.is_on and self.instance == instance:
                do()

        self._queue.at(self._queue.now + max(0, round(ticks)), Kind.STEP, self.id, if_on)
