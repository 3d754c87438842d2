"""The running peer: the training loop of docs/how-it-works.md, between a learner and the network."""

import contextlib
import logging
import math
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgekd.config import Config
from edgekd.data.datasets import PeerData
from edgekd.errors import ConfigError, DivergedError, OutOfMemoryError
from edgekd.files.checkpoint import CheckpointInfo
from edgekd.files.summary import PeerSummary
from edgekd.learning.divergence import check_finite, diverged
from edgekd.learning.evaluation import Accuracy, is_evaluated
from edgekd.learning.learner import Learner, Losses
from edgekd.protocol.board import Board
from edgekd.protocol.members import Member
from edgekd.protocol.messages import Goodbye, Heartbeat, Lesson, Parting
from edgekd.protocol.schedule import Rounds, is_due, lockstep_round
from peer.network.thread import Network
from peer.node.out_of_memory import is_out_of_memory
from peer.node.recorder import Recorder

log = logging.getLogger("edgekd")

START_TIMEOUT = 120.0  # seconds that an asynchronous peer waits for its neighbours
SAY_EVERY = 15.0  # seconds between two lines about waiting
DEFAULT_LINGER = 60.0  # seconds
REPORT_EVERY = 0.25  # seconds: reading a loss waits for the device


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """A peer's state for whoever watches it."""

    id: int
    state: str  # "waiting", "training", "lingering", "done" or "stopped"
    step: int
    steps: int  # 0: without end
    round: int
    up: int  # neighbours
    age: int | None  # steps since the youngest of what it learns from arrived; None: no lesson
    labels: float | None  # losses of the last step
    distil: float | None
    accuracy: float | None
    lessons: int  # these as in `Counts`
    fresh_lessons: int
    waits: int
    missing: int
    bytes_sent: int
    bytes_received: int
    seconds: float  # of training, in this process
    failing: tuple[str, ...]  # of "metrics", "checkpoint" and "summary" what could not be written when last tried


Watch = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What a peer counts over all its steps, those before a restart included."""

    lessons: int = 0  # steps that had one
    fresh_lessons: int = 0  # those with a frame not learned from before
    waits: int = 0  # steps that waited for the network: synchronous mode only
    missing: int = 0  # predictions that synchronous lessons did without
    bytes_sent: int = 0  # before this start of the process
    bytes_received: int = 0


class Node:
    """One peer.

    Args:
        learner: what learns.
        data: the learner's data.
        network: not started yet, or started.
        config: all settings.
        out: the folder for checkpoints, metrics and the summary; it exists.
        stop: becomes true when the peer is to end early.
        watch: called after every evaluation, whenever the state changes, and some times a second.
    """

    def __init__(
        self,
        learner: Learner,
        data: PeerData,
        network: Network,
        config: Config,
        out: Path,
        *,
        stop: Callable[[], bool] = lambda: False,
        watch: Watch = lambda progress: None,
    ) -> None:
        self.learner, self.data, self.network, self.config = learner, data, network, config
        self._stop, self._watch = stop, watch
        self._recorder = Recorder(out)
        self._board = Board(max_age=config.exchange.max_age)
        self._rounds = Rounds()
        self._counts = Counts()
        self._accuracy: Accuracy | None = None
        self._losses: Losses | None = None
        self._lesson: Lesson | None = None
        self._reported = ("", 0.0)  # state and time of the last report
        self.progress: Progress | None = None  # the last report, for other threads
        self._training_seconds = 0.0  # of this process
        self._first_step = 0  # of this process
        self._whole = 0  # the last step that was done to its end

    @property
    def _lockstep(self) -> bool:
        return self.config.exchange.sync is not None

    @property
    def _waits_for_all(self) -> bool:
        """Whether it does not begin without its neighbours; resumed, where lessons have a limit, it does in the end."""
        sync = self.config.exchange.sync
        return sync is not None and (self._first_step == 0 or math.isinf(sync))

    @property
    def _done(self) -> bool:
        return 0 < self.config.train.steps <= self.learner.step

    def resume(self) -> bool:
        """Go on from the newest sound checkpoint in the folder; False: there is none.

        Raises:
            ConfigError: the checkpoint is of another network, other data or another peer.
        """
        found = self._recorder.resume()
        if found is None:
            return False
        info, state = found
        ours = self._info()
        for name in ("id", "model", "heads", "head_layers", "classes", "size"):
            if getattr(info, name) != getattr(ours, name):
                there, here = getattr(info, name), getattr(ours, name)
                raise ConfigError(f"the checkpoint's {name} is {there}, this peer's is {here}; choose another --out")
        self.learner.restore(state, info.step)
        self._rounds = Rounds(published=info.round)
        self._counts = Counts(**info.counts)
        self._accuracy = info.accuracy
        self._first_step = self._whole = info.step
        return True

    def run(self) -> PeerSummary:
        """Wait for neighbours, train, evaluate, save, teach on; the network is stopped and the port free afterwards.

        Raises:
            OutOfMemoryError: the device's memory is full; what was reached before is saved, if it can be.
            DivergedError: there is NaN among losses, predictions or weights; nothing is saved over what was.
        """
        try:
            self._tell("waiting")  # that it has an end, so that nobody who is done leaves before it has begun
            self._await_neighbours()
            self._train()
            finished = self._done
            if not finished:  # first of all: a checkpoint takes its time on an SD card
                self.network.stop(Goodbye(parting=Parting.LEAVING))
            self._recorder.save(self._info(), self.learner.state())
            self._recorder.summarise(self.summary(), self._training_seconds)
            if finished and not self._lockstep:
                self._linger()
        except Exception as error:
            self.network.stop(Goodbye(parting=Parting.LEAVING))
            if isinstance(error, RuntimeError | MemoryError) and is_out_of_memory(error):
                raise self._out_of_memory(error) from None
            if not isinstance(error, DivergedError):
                with contextlib.suppress(Exception):  # it is the first error that is to be seen
                    self._save_whole()
            raise
        finally:
            parting = Parting.DONE if self._done else Parting.LEAVING
            self.network.stop(Goodbye(parting=parting))
        self._recorder.summarise(self.summary(), self._training_seconds)  # once more, with the bytes of lingering
        self._report("done" if self._done else "stopped")
        return self.summary()

    @property
    def unwritten(self) -> str:
        """Why the folder does not hold everything that it should; "" if it does."""
        return self._recorder.unwritten

    def summary(self) -> PeerSummary:
        """What it has reached so far."""
        return PeerSummary(
            id=self.learner.id,
            accuracy=self._accuracy.overall if self._accuracy else None,
            own_accuracy=self._accuracy.own if self._accuracy else None,
            head_accuracies=self._accuracy.heads if self._accuracy else (),
            steps=self.learner.step,
            private_samples=len(self.data.private.labels),
            evaluation_samples=len(self.data.evaluation.labels),
            refused=dict(self.network.refused),
            replaced=sum(member.replaced for member in self.network.members),
            weights_sha256=self.learner.weights_sha256(),
            **asdict(self._total()),
        )

    def _out_of_memory(self, error: BaseException) -> OutOfMemoryError:
        """Save what was reached before the memory was full; the error that tells of it."""
        traceback.clear_frames(error.__traceback__)  # they hold what the step has computed
        self.learner.abandon()
        try:
            self._save_whole()
        except (RuntimeError, MemoryError) as another:
            if not is_out_of_memory(another):
                raise
        except DivergedError:  # that, too; but more memory is wanted first
            pass
        saved = self._recorder.saved
        kept = "no checkpoint was written yet" if saved is None else f"the checkpoint of step {saved} is kept"
        advice = "start it with a smaller --batch, --public-batch or --size"
        return OutOfMemoryError(f"out of memory on {self.learner.device} after step {self._whole}: {advice}; {kept}")

    def _save_whole(self) -> None:
        """Save what was reached, unless an error came amid a step's changes."""
        self._recorder.flush()
        if self.learner.step == self._whole > self._first_step:
            self._recorder.save(self._info(), self.learner.state())

    # -- the stages --------------------------------------------------------------------------------------------------

    def _await_neighbours(self) -> None:
        wanted = self.config.exchange.wait_for or 0
        if not wanted or self._done:
            return
        self._report("waiting")

        def there() -> int:
            return sum(member.up for member in self.network.members) + self.network.self_dialled

        def begun() -> bool:
            # Beyond round 0 without this peer: a group in lockstep that it joins late, and that now waits for it.
            return self._lockstep and any(member.up and member.round >= 1 for member in self.network.members)

        began, patience = time.monotonic(), float("inf") if self._waits_for_all else START_TIMEOUT
        while not self._stop() and not there() >= wanted and not begun():
            left = began + patience - time.monotonic()
            if left <= 0:
                log.warning("%d of %d neighbours are there after %.0f s; training begins", there(), wanted, patience)
                return
            arrived = self.network.wait_until(
                lambda: there() >= wanted or begun(), timeout=min(left, SAY_EVERY), stop=self._stop
            )
            if not arrived and not self._stop():
                log.info("waiting: %d of %d neighbours are there", there(), wanted)

    def _train(self) -> None:
        began = time.monotonic()
        try:
            while not self._stop() and not self._done:
                self._step()
                self._training_seconds = time.monotonic() - began
            if self._done and self._accuracy is None:  # its last evaluation was cut short, before a restart
                self._evaluate()
        finally:
            self._recorder.flush()

    def _step(self) -> None:
        step, every = self.learner.step, self.config.exchange.broadcast_every
        self._collect()
        # In lockstep who begins, or restarts, says at once what the others wait for.
        begins = self._lockstep and step == max(self._first_step, self.learner.alone_until)
        if not self.learner.is_alone and (is_due(step, every) or begins):
            self._teach(lockstep_round(step, every) if self._lockstep else None)
        self.learner.study()
        lesson: Lesson | None = None
        if self.learner.is_alone:
            pass
        elif self._lockstep:
            lesson = self._await_lesson(lockstep_round(step, every))
            if self._stop():  # perhaps before everybody was heard: this step is left undone
                return
        else:
            self._collect()
            lesson = self._board.pick(step)
        self._lesson = lesson if self.config.distill.alpha < 1 else None
        self._losses = self.learner.learn(self._lesson)
        self._whole = self.learner.step
        if self._lesson is not None:
            lessons, fresh = self._counts.lessons + 1, self._counts.fresh_lessons + self._lesson.fresh
            self._counts = replace(self._counts, lessons=lessons, fresh_lessons=fresh)
        evaluated = is_evaluated(self.learner.step, self.config.train) and self._evaluate()
        self._record(self._losses, self._accuracy if evaluated else None)
        if self._recorder.diverged:
            raise diverged(self.learner.id, self.learner.step)
        self._tell("training")
        every = self.config.train.checkpoint_every
        if every and self.learner.step % every == 0:
            self._recorder.save(self._info(), self.learner.state())
        self._report("training")

    def _linger(self) -> None:
        """Teach on, a round whenever others speak of a newer one, until no neighbour needs it."""
        limit = self.config.exchange.linger
        deadline = time.monotonic() + (DEFAULT_LINGER if limit is None else limit)
        steps = max(1, self.learner.step - self._first_step)
        pace = self._training_seconds / steps * self.config.exchange.broadcast_every
        self._tell("lingering")
        self._report("lingering")

        def alone() -> bool:
            return not any(member.unfinished for member in self.network.members)

        def spoken_of() -> bool:
            return self.network.rounds.heard > self._rounds.published

        while not alone() and not self._stop():
            left = deadline - time.monotonic()
            if not self.network.wait_until(lambda: alone() or spoken_of(), timeout=left, stop=self._stop):
                break
            if not alone():
                began = time.monotonic()
                self._teach(None)
                self._report("lingering")
                rest = min(began + pace, deadline) - time.monotonic()
                self.network.wait_until(alone, timeout=rest, stop=self._stop)

    # -- what a step does --------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        for arrival in self.network.collect():
            self._board.post(arrival.peer, arrival.instance, arrival.round, arrival.probs, self.learner.step)

    def _teach(self, round: int | None) -> None:
        """Broadcast about `round`; None: about the one that the group's counter says."""
        self._rounds = self._rounds.hear(self.network.rounds.heard)
        self._rounds = Rounds(round, self._rounds.heard) if round is not None else self._rounds.advance()
        now = self._rounds.published
        # Where this very round will be the lesson, one pass serves for both.
        keep = self._lockstep or (not self._done and self._board.peek(self.learner.step) == now)
        log_probs, copied = to_host(self.learner.teach(now, keep=keep))
        id, step = self.learner.id, self.learner.step

        def ready() -> None:
            if copied is not None:
                copied()
            check_finite([log_probs], id, step)  # before anybody hears it: of one bit a row nobody could tell

        if copied is None or self._lockstep:  # lockstep waits for the others anyway
            ready()
            self.network.publish(now, log_probs)
        else:
            self.network.publish(now, log_probs, ready)

    def _await_lesson(self, round: int) -> Lesson | None:
        """The synchronous lesson: what every live neighbour says about exactly this round."""

        def live() -> list[Member]:
            return [member for member in self.network.members if member.up and not member.done]

        def complete() -> bool:
            # Before what has arrived is collected: a neighbour's last frame comes before its goodbye.
            awaited = [member.id for member in live() if not member.unsound]
            self._collect()
            return all(self._board.last_round(id) >= round for id in awaited)

        if not complete():
            self._counts = replace(self._counts, waits=self._counts.waits + 1)
            timeout = self.config.exchange.sync or 0.0
            self.network.wait_until(complete, timeout=timeout, stop=self._stop)
        lesson = self._board.pick_round(round, self.learner.step)
        missing = {member.id for member in live()} - set(lesson.teachers if lesson else ())
        self._counts = replace(self._counts, missing=self._counts.missing + len(missing))
        return lesson

    def _evaluate(self) -> bool:
        """Whether it was not cut short by SIGTERM; if it was, the last whole evaluation is the better news."""
        found = self.learner.evaluate(self.data.evaluation, stop=self._stop)
        self._accuracy = found or self._accuracy
        return found is not None

    # -- what it says ------------------------------------------------------------------------------------------------

    def _total(self) -> Counts:
        members, before = self.network.members, self._counts
        return replace(
            before,
            bytes_sent=before.bytes_sent + sum(member.bytes_sent for member in members),
            bytes_received=before.bytes_received + sum(member.bytes_received for member in members),
        )

    def _info(self) -> CheckpointInfo:
        return CheckpointInfo(
            id=self.learner.id,
            step=self.learner.step,
            round=self._rounds.published,
            model=self.config.model.for_client(self.learner.id),
            classes=self.data.classes,
            size=self.data.evaluation.images.shape[-1],
            heads=self.config.model.heads,
            head_layers=self.config.model.head_layers,
            counts=asdict(self._total()),
            accuracy=self._accuracy,
        )

    def _record(self, losses: Losses, accuracy: Accuracy | None) -> None:
        lesson = self._lesson
        record: dict[str, Any] = {
            "step": self.learner.step,
            "round": self._rounds.published,
            "lesson": lesson.round if lesson else None,
            "teachers": list(lesson.teachers) if lesson else [],
            "age": lesson.age if lesson else None,
            "fresh": lesson.fresh if lesson else False,
        }
        if accuracy is not None:
            record |= {"accuracy": accuracy.overall, "own_accuracy": accuracy.own, "head_accuracies": accuracy.heads}
        self._recorder.record(record, losses)

    def _tell(self, state: str) -> None:
        self.network.tell(
            Heartbeat(
                step=self.learner.step,
                steps=self.config.train.steps,
                round=self._rounds.published,
                done=self._done,
                accuracy=self._accuracy.overall if self._accuracy else None,
            ),
            state,
        )

    def _report(self, state: str) -> None:
        now = time.monotonic()
        evaluated = is_evaluated(self.learner.step, self.config.train)
        if state == self._reported[0] and not evaluated and now - self._reported[1] < REPORT_EVERY:
            return
        self._reported = (state, now)
        if disagreements := self.learner.disagreements:
            self.network.note_disagreements(disagreements)
        losses = self._losses
        self.progress = Progress(
            id=self.learner.id,
            state=state,
            step=self.learner.step,
            steps=self.config.train.steps,
            round=self._rounds.published,
            up=sum(member.up for member in self.network.members),
            age=self._lesson.age if self._lesson else None,
            **({"labels": None, "distil": None} if losses is None else losses.numbers()),
            accuracy=self._accuracy.overall if self._accuracy else None,
            **asdict(self._total()),
            seconds=self._training_seconds,
            failing=tuple(sorted(self._recorder.failing)),
        )
        self._watch(self.progress)


def to_host(tensor: Tensor) -> tuple[Tensor, Callable[[], None] | None]:
    """A copy in CPU memory; on CUDA it is under way, and the second value returns once it is there."""
    if tensor.device.type != "cuda":
        return tensor.cpu(), None
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()
    return host, copied.synchronize
