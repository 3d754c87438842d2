"""The training loop of a peer: drives a learner and its exchange, between the network and the folder of results.

All decisions about the exchange are made by `edgekd.protocol.exchange`: which round to teach, what to learn, for whom
to wait and when to leave.
"""

import contextlib
import logging
import math
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgekd.config import Config
from edgekd.contract import definition
from edgekd.data.datasets import PeerData
from edgekd.errors import DivergedError, OutOfMemoryError
from edgekd.extensions import spelt
from edgekd.files.checkpoint import CheckpointInfo, load_newest
from edgekd.files.evaluation_file import Counted
from edgekd.files.summary import PeerSummary
from edgekd.learning.divergence import check_finite, diverged
from edgekd.learning.evaluation import Accuracy, is_evaluated
from edgekd.learning.learner import Learner, Losses
from edgekd.protocol.counts import Counts
from edgekd.protocol.exchange import Exchange, Start, Teach
from edgekd.protocol.members import Member
from edgekd.protocol.messages import Goodbye, Heartbeat, Lesson, Parting, State
from peer.network.news import News
from peer.network.thread import SLICE, Network
from peer.node.best import BestKeeper
from peer.node.errands import Errands
from peer.node.out_of_memory import is_out_of_memory
from peer.node.progress import OnProgress, Progress, step_record
from peer.node.recorder import Recorder
from peer.node.resumable import check_resumable
from peer.node.scanner import Scanner
from peer.node.threads import CoreFollower

log = logging.getLogger("edgekd")

SAY_EVERY = 15.0  # seconds between two lines about waiting
STUCK_AFTER = 30.0  # seconds after which a wait without time limit is logged, with advice
LISTED = 4  # addresses in a line of the log, at most
GO_ON_ALONE = "if they have finished or are gone for good, start this peer again with --resume --wait-for 0"
BOUND = "--sync SECONDS would bound such waits"
REPORT_EVERY = 0.25  # seconds, not every step: reading a loss waits for the device


class Node:
    """One peer.

    Args:
        learner: the network that is trained.
        data: the learner's data.
        network: the connections to the neighbours; to be started before `run`.
        config: all settings.
        out: an existing folder for checkpoints, metrics and the summary.
        scanner: takes up changes of the private folder; None: changes are ignored.
        cores: adapts torch's threads to the cores that this process may use; None: their number stays.
        stop: becomes true when the peer should end early.
        paused: true while the peer should take no step; it still answers its neighbours.
        on_progress: called after every evaluation, whenever the state changes, and about four times a second.
    """

    def __init__(
        self,
        learner: Learner,
        data: PeerData,
        network: Network,
        config: Config,
        out: Path,
        *,
        scanner: Scanner | None = None,
        cores: CoreFollower | None = None,
        stop: Callable[[], bool] = lambda: False,
        paused: Callable[[], bool] = lambda: False,
        on_progress: OnProgress = lambda progress: None,
    ) -> None:
        self.learner, self.data, self.network, self.config = learner, data, network, config
        self._scanner, self._cores, self._stop, self._paused = scanner, cores, stop, paused
        self._out, self._news, self._on_progress = out, News(), on_progress
        self._recorder = Recorder(out, tensorboard=bool(config.train.tensorboard))
        self._best = BestKeeper(learner, self._recorder, out, config)
        self._made_with = definition(data, config)
        self._held_out = data.held_out  # as the folder has it
        self.exchange = Exchange(config, alone_until=learner.alone_until)
        self._bytes_before = {"bytes_sent": 0, "bytes_received": 0}  # before this peer was restarted
        self._accuracy: Accuracy | None = None
        self._losses: Losses | None = None
        self._lesson: Lesson | None = None
        self._reported: tuple[State | None, float] = (None, 0.0)  # state and time of the last report
        self.progress: Progress | None = None  # the last report, for other threads
        self.errands = Errands()  # what other threads ask of the training thread
        self._began = time.monotonic()  # when training did, moved on by the length of each pause
        self._training_seconds = 0.0  # of this process
        self._first_step = 0  # of this process
        self._whole = 0  # the last step that was done to its end

    @property
    def _done(self) -> bool:
        return self.exchange.is_done(self.learner.step)

    def resume(self) -> bool:
        """Restore the newest valid checkpoint in the folder; return whether there is one. Nothing is written.

        Raises:
            ConfigError: the checkpoint is of another network, other data or another peer.
        """
        found = load_newest(self._out)
        self._recorder.resume(found.info.step if found else None)
        if found is None:
            return False
        info = found.info
        self._check_ours(info)
        self.learner.restore(found.state, info.step)
        # Counts that this version does not know are left out.
        self._bytes_before = {name: info.counts.get(name, 0) for name in self._bytes_before}
        known = {f.name: info.counts[f.name] for f in fields(Counts) if f.name in info.counts}
        self.exchange.resume(info.step, Counts(**known))
        self._accuracy = info.accuracy
        self._first_step = self._whole = info.step
        self._best.resume(self._check_ours)
        return True

    def _check_ours(self, info: CheckpointInfo) -> None:
        check_resumable(info, self._info(), self._out)

    def run(self) -> PeerSummary:
        """Wait for neighbours, train, evaluate, save and linger (go on teaching); return the summary.

        Afterwards the network is stopped and the port is free. This is the first method that writes into the folder, so
        call it only when everything that can prevent a start has been checked.

        Raises:
            OutOfMemoryError: the device's memory is full; the last whole step is saved, if possible.
            DivergedError: a loss, a prediction or a weight is NaN; no checkpoint is overwritten.
        """
        try:
            self._recorder.begin()
            self._tell(State.WAITING)  # tells its steps, so that lingering neighbours wait for this peer
            with self._scanner or contextlib.nullcontext():
                self._await_neighbours()
                self._train()
            finished = self._done
            if not finished:  # say goodbye first, since writing a checkpoint to an SD card takes a while
                self.network.stop(Goodbye(parting=Parting.LEAVING))
            self._save()
            self._recorder.summarise(self.summary(), self._training_seconds)
            if finished:
                self._linger()
        except Exception as error:
            self.network.stop(Goodbye(parting=Parting.LEAVING))
            if isinstance(error, RuntimeError | MemoryError) and is_out_of_memory(error):
                raise self._out_of_memory(error) from None
            if not isinstance(error, DivergedError):
                with contextlib.suppress(Exception):  # the first error is the one to raise
                    self._save_whole()
            raise
        finally:
            parting = Parting.DONE if self._done else Parting.LEAVING
            self.network.stop(Goodbye(parting=parting))
        self._recorder.summarise(self.summary(), self._training_seconds)  # once more, with the bytes of lingering
        self._report(State.DONE if self._done else State.STOPPED)
        return self.summary()

    @property
    def unwritten(self) -> str:
        """The reason why a result could not be written; "" if all were."""
        return self._recorder.unwritten

    def summary(self) -> PeerSummary:
        """Make a summary of the results so far."""
        return PeerSummary(
            id=self.learner.id,
            accuracy=self._accuracy.overall if self._accuracy else None,
            own_accuracy=self._accuracy.own if self._accuracy else None,
            head_accuracies=self._accuracy.heads if self._accuracy else (),
            steps=self.learner.step,
            accuracy_step=self._accuracy.step if self._accuracy else None,
            private_samples=len(self.data.private.labels),
            evaluation_samples=self._accuracy.samples if self._accuracy else len(self.data.evaluation.labels),
            refused=dict(self.network.refused),
            replaced=self.network.traffic.replaced,
            weights_sha256=self.learner.weights_sha256(),
            **self._counts(),
        )

    def _out_of_memory(self, error: BaseException) -> OutOfMemoryError:
        """Save the last whole step before the memory was full; return the error to raise."""
        traceback.clear_frames(error.__traceback__)  # they hold tensors of the step
        self.learner.abandon()
        try:
            self._save_whole()
        except (RuntimeError, MemoryError) as another:
            if not is_out_of_memory(another):
                raise
        except DivergedError:  # it has also diverged, but the lack of memory is what to report
            pass
        saved = self._recorder.saved
        kept = "no checkpoint was written yet" if saved is None else f"the checkpoint of step {saved} is kept"
        advice = "start it with a smaller --batch, --public-batch or --size"
        return OutOfMemoryError(f"out of memory on {self.learner.device} after step {self._whole}: {advice}; {kept}")

    def _save_whole(self) -> None:
        """Save the learner, unless an error has interrupted a step in the middle of its changes."""
        self._recorder.flush()
        if self.learner.step == self._whole > self._first_step:
            self._save()

    def _save(self) -> None:
        held = self.data.held_out
        if held is not None and held != self._held_out and self._recorder.hold_out(held):
            self._held_out = held
        self._recorder.save(self._info(), self.learner.state())

    # -- the stages --------------------------------------------------------------------------------------------------

    def _await_neighbours(self) -> None:
        began = said = time.monotonic()
        while not self._stop():
            self._take_up()
            group, own = self._look(), self.network.self_dialled
            waited = time.monotonic() - began
            start = self.exchange.may_begin(group, own_addresses=own, waited=waited)
            if start is Start.NOW:
                return
            self._report(State.WAITING)
            there, wanted = sum(member.up for member in group) + own, self.config.exchange.wait_for
            if start is Start.SHORT:
                log.warning("%d of %d neighbours are there after %.0f s; training begins", there, wanted, waited)
                return
            if math.isinf(self.exchange.start_timeout) and waited >= STUCK_AFTER:
                self._say_stuck("start", f"{self._awaited(there)}; {GO_ON_ALONE}")
            elif time.monotonic() - said >= SAY_EVERY:
                said = time.monotonic()
                left = self.exchange.start_timeout - waited
                most = "" if math.isinf(left) else f"; it begins without them in {left:.0f} s"
                log.info("waiting: %d of %d neighbours (--wait-for) are there%s", there, wanted, most)
            patience = min(self.exchange.start_timeout - waited, SAY_EVERY)
            self.network.wait_for_news(patience, lambda: self._is_wanted() or self._has_changed())

    def _train(self) -> None:
        self._began = time.monotonic()
        try:
            while not self._stop() and not self._done:
                if self._paused():
                    self._began += self._pause()
                else:
                    self._step()
            if self._done and (self._accuracy is None or self._accuracy.step != self.learner.step):
                self._evaluate()  # its last evaluation was interrupted before a restart
        finally:
            self._recorder.flush()

    def _pause(self) -> float:
        """Take no step until the pause is over, or the peer should end; return the seconds that this took."""
        began = time.monotonic()
        log.info("paused: it takes no step until SIGUSR2; neighbours and `edgekd status` get their answers")
        self._tell(State.PAUSED)
        self._report(State.PAUSED)
        while self._paused() and not self._stop():
            time.sleep(SLICE)
            self._look()
        self._tell(State.TRAINING)
        self._report(State.TRAINING)
        paused = time.monotonic() - began
        if not self._stop():
            log.info("it goes on, after a pause of %.0f s", paused)
        return paused

    def _step(self) -> None:
        if self._cores is not None:
            self._cores.follow(time.monotonic())
        self._take_up()
        step = self.learner.step
        if teach := self.exchange.teach(step, self._look()):
            self._broadcast(teach)
        self.learner.study()
        group = self._await_predictions(step)
        if self._stop() and self.exchange.lockstep:  # predictions may be missing, so do not finish this step
            return
        self._lesson = self.exchange.lesson(step, group)
        self._losses = self.learner.learn(self._lesson, stop=self._stop)
        self._whole = self.learner.step
        if not self.exchange.lockstep and self.learner.device.type == "cpu":  # on other devices this would wait
            self.exchange.heed(self.learner.disagreements)
        evaluated = is_evaluated(self.learner.step, self.config.train) and self._evaluate()
        accuracy = self._accuracy if evaluated else None
        private = len(self.data.private.labels)
        self._recorder.record(
            step_record(self.learner.step, self.exchange.published, self._lesson, accuracy, private), self._losses
        )
        if self._recorder.diverged:
            raise diverged(self.learner.id, self.learner.step)
        self._tell(State.TRAINING)
        every = self.config.train.checkpoint_every
        if every and self.learner.step % every == 0:
            self._save()
        self._training_seconds = time.monotonic() - self._began
        self._report(State.TRAINING)

    def _linger(self) -> None:
        """Go on teaching neighbours that still train, as long as the exchange says."""
        steps = max(1, self.learner.step - self._first_step)
        self.exchange.begin_lingering(time.monotonic(), seconds_a_step=self._training_seconds / steps)
        self._tell(State.LINGERING)
        self._report(State.LINGERING)
        while not self._stop():
            now = time.monotonic()
            do = self.exchange.linger(now, self._look())
            if do is None:
                return
            if isinstance(do, Teach):
                self._broadcast(do)
                self._report(State.LINGERING)
            else:
                self.network.wait_for_news(do.until - now, self._is_wanted)

    # -- what a step does --------------------------------------------------------------------------------------------

    def _is_wanted(self) -> bool:
        """Whether to end a wait: the peer should end, or another thread has an errand."""
        return self._stop() or self.errands.waiting

    def _has_changed(self) -> bool:
        """Whether the scanner has new data."""
        return self._scanner is not None and self._scanner.data is not self.data

    def _take_up(self) -> None:
        """If the scanner has new data, train and evaluate on them from now on."""
        if self._scanner is not None and self._has_changed():
            self.data = self._scanner.data
            self.learner.train_on(self.data.private)

    def _look(self) -> tuple[Member, ...]:
        """Do the errands of other threads, and post arrived predictions to the exchange; return the neighbours."""
        self.errands.run()
        group, arrivals = self.network.look()
        for arrival in arrivals:
            self.exchange.post(arrival.peer, arrival.instance, arrival.round, arrival.probs, self.learner.step)
        return group

    def _broadcast(self, teach: Teach) -> None:
        log_probs, copied = to_host(self.learner.teach(teach.round, keep=teach.keep))
        id, step = self.learner.id, self.learner.step

        def ready() -> None:
            if copied is not None:
                copied()
            check_finite([log_probs], id, step)  # before it is sent: one-bit predictions would not show NaN

        if copied is None or self.exchange.lockstep:  # lockstep waits for the neighbours anyway
            ready()
            self.network.publish(teach.round, log_probs)
        else:
            self.network.publish(teach.round, log_probs, ready)

    def _await_predictions(self, step: int) -> tuple[Member, ...]:
        """Wait while the exchange waits for predictions for the lesson of `step`; return the neighbours after that."""
        began, group = time.monotonic(), self._look()
        if self.exchange.awaits(step, group):
            self.exchange.note_wait()
            while not self._stop():
                waited = time.monotonic() - began
                if not (awaited := self.exchange.awaits(step, group, waited=waited)):
                    break
                if math.isinf(self.exchange.lesson_timeout) and waited >= STUCK_AFTER:
                    self._say_stuck("lesson", f"waiting for predictions of {_named(awaited)}; {BOUND}")
                self.network.wait_for_news(min(self.exchange.lesson_timeout - waited, SAY_EVERY), self._is_wanted)
                group = self._look()
        return group

    def _evaluate(self) -> bool:
        """Evaluate the learner; return False if `stop` has interrupted it. Then the last accuracy stays."""
        found = self.learner.evaluate(self.data.evaluation, stop=self._stop)
        self._accuracy = found or self._accuracy
        if found is not None:
            self._recorder.count(self._counted(found))
            self._best.compare(found, self._info(), self.data.evaluation, self._stop)
        return found is not None

    # -- logs, records and reports -----------------------------------------------------------------------------------

    def _awaited(self, there: int) -> str:
        """A line about the neighbours for which the first step waits."""
        addresses = self.network.peers
        listed = ", ".join(addresses[:LISTED]) + (", ..." if len(addresses) > LISTED else "")
        named = f" ({listed})" if listed else ""
        return f"{there} of {self.config.exchange.wait_for} neighbours{named} are there, and lockstep waits for all"

    def _say_stuck(self, subject: str, message: str) -> None:
        """Log a wait without time limit, once and then rarely."""
        self._news.say(subject, logging.WARNING, message, time.monotonic())

    def _counts(self) -> dict[str, Any]:
        """The counts of its steps, lessons and bytes, including those before a restart."""
        traffic, before = self.network.traffic, self._bytes_before
        return asdict(self.exchange.counts) | {
            "bytes_sent": before["bytes_sent"] + traffic.bytes_sent,
            "bytes_received": before["bytes_received"] + traffic.bytes_received,
        }

    def _counted(self, accuracy: Accuracy) -> Counted:
        classes = self.data.classes
        private = torch.bincount(self.data.private.labels, minlength=len(classes)).tolist()
        id, step = self.learner.id, self.learner.step
        return Counted(id=id, step=step, classes=classes, private=tuple(private), confusion=accuracy.confusion)

    def _info(self) -> CheckpointInfo:
        return CheckpointInfo(
            id=self.learner.id,
            step=self.learner.step,
            round=self.exchange.published,
            model=spelt(self.config.model.for_client(self.learner.id)),
            classes=self.data.classes,
            size=self.data.evaluation.images.shape[-1],
            heads=self.config.model.heads,
            head_layers=self.config.model.head_layers,
            counts=self._counts(),
            accuracy=self._accuracy,
            made_with=self._made_with,
        )

    def _tell(self, state: State) -> None:
        self.network.tell(
            Heartbeat(
                step=self.learner.step,
                steps=self.config.steps,
                round=self.exchange.published,
                done=self._done,
                accuracy=self._accuracy.overall if self._accuracy else None,
            ),
            state,
        )

    def _report(self, state: State) -> None:
        now = time.monotonic()
        evaluated = is_evaluated(self.learner.step, self.config.train)
        if state == self._reported[0] and not evaluated and now - self._reported[1] < REPORT_EVERY:
            return
        self._reported = (state, now)
        if disagreements := self.learner.disagreements:
            self.network.note_disagreements(disagreements)
            self.exchange.heed(disagreements)
        losses = self._losses
        self.progress = Progress(
            id=self.learner.id,
            state=state,
            step=self.learner.step,
            steps=self.config.steps,
            round=self.exchange.published,
            up=sum(member.up for member in self.network.members),
            age=self._lesson.age if self._lesson else None,
            **({"labels": None, "distil": None} if losses is None else losses.numbers()),
            accuracy=self._accuracy.overall if self._accuracy else None,
            accuracy_step=self._accuracy.step if self._accuracy else None,
            evaluation_samples=self._accuracy.samples if self._accuracy else None,
            best=self._best.best.accuracy.overall if self._best.best.accuracy else None,
            falls=self._best.falls,
            private_samples=len(self.data.private.labels),
            **self._counts(),
            seconds=self._training_seconds,
            first_step=self._first_step,
            failing=tuple(sorted(self._recorder.failing)),
        )
        self.network.note_training(self.progress.training())
        self._on_progress(self.progress)


def _named(ids: Iterable[int]) -> str:
    return ", ".join(f"peer {id}" for id in sorted(ids))


def to_host(tensor: Tensor) -> tuple[Tensor, Callable[[], None] | None]:
    """Copy a tensor into CPU memory.

    Returns:
        The copy; and None, or with CUDA a function that waits until the copy has finished.
    """
    if tensor.device.type != "cuda":
        return tensor.cpu(), None
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()
    return host, copied.synchronize
