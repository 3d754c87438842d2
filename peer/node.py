"""The running peer: the training loop of docs/how-it-works.md, between a learner and the network."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgekd.board import Board
from edgekd.config import Config
from edgekd.datasets import PeerData
from edgekd.evaluation import Accuracy
from edgekd.learner import Learner, Losses
from edgekd.messages import Goodbye, Heartbeat, Lesson, Parting
from edgekd.schedule import Rounds, is_due, lockstep_round
from edgekd.simulation import is_evaluated
from edgekd.summary import PeerSummary, Summary
from peer.checkpoint import CheckpointInfo, load_newest, save_checkpoint, write_atomically
from peer.network import Network

log = logging.getLogger("edgekd")

START_TIMEOUT = 120.0  # seconds that an asynchronous peer waits for its neighbours
DEFAULT_LINGER = 60.0  # seconds
REPORT_EVERY = 0.25  # seconds: reading a loss waits for the device
FLUSH_EVERY = 10  # steps between writes of metrics.jsonl


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
    bytes_sent: int
    bytes_received: int


Watch = Callable[[Progress], None]


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
        self._out, self._stop, self._watch = out, stop, watch
        self._board = Board(max_age=config.exchange.max_age)
        self._rounds = Rounds()
        self._accuracy: Accuracy | None = None
        self._losses: Losses | None = None
        self._lesson: Lesson | None = None
        self._lessons = self._fresh = self._waits = self._missing = 0
        self._records: list[tuple[dict[str, Any], Losses]] = []
        self._training_seconds = 0.0
        self._reported = ("", 0.0)  # state and time of the last report
        self._saved = -1  # the step of the last checkpoint

    @property
    def _lockstep(self) -> bool:
        return self.config.exchange.sync is not None

    @property
    def _done(self) -> bool:
        return 0 < self.config.train.steps <= self.learner.step

    def resume(self) -> bool:
        """Go on from the newest sound checkpoint in the folder; False: there is none.

        Raises:
            ConfigError: the checkpoint is of another network or another peer.
        """
        found = load_newest(self._out)
        if found is None:
            return False
        info, state = found
        self.learner.restore(state, info.step)
        self._rounds = Rounds(published=info.round)
        self._saved = info.step
        return True

    def run(self) -> Summary:
        """Wait for neighbours, train, evaluate, save, teach on; the network is stopped and the port free afterwards."""
        try:
            self._await_neighbours()
            self._train()
            finished = self._done
            self._save()
            self._write_summary()
            if finished and not self._lockstep:
                self._linger()
        finally:
            self._tell()
            parting = Parting.DONE if self._done else Parting.LEAVING
            self.network.stop(Goodbye(parting=parting))
        self._write_summary()  # once more, with the bytes of lingering
        self._report("done" if self._done else "stopped")
        return self.summary()

    def summary(self) -> Summary:
        """What it has reached so far."""
        members = self.network.members
        peer = PeerSummary(
            id=self.learner.id,
            accuracy=self._accuracy.overall if self._accuracy else None,
            own_accuracy=self._accuracy.own if self._accuracy else None,
            steps=self.learner.step,
            lessons=self._lessons,
            fresh_lessons=self._fresh,
            waits=self._waits,
            missing=self._missing,
            private_samples=len(self.data.private.labels),
            evaluation_samples=len(self.data.evaluation.labels),
            bytes_sent=sum(member.bytes_sent for member in members),
            bytes_received=sum(member.bytes_received for member in members),
            weights_sha256=self.learner.weights_sha256(),
        )
        return Summary(peers=(peer,), seconds=self._training_seconds)

    # -- the stages --------------------------------------------------------------------------------------------------

    def _await_neighbours(self) -> None:
        wanted = self.config.exchange.wait_for or 0
        if not wanted:
            return
        self._report("waiting")

        def there() -> bool:
            return sum(member.up for member in self.network.members) + self.network.self_dialled >= wanted

        timeout = float("inf") if self._lockstep else START_TIMEOUT
        if not self.network.wait_until(there, timeout=timeout, stop=self._stop) and not self._stop():
            up = sum(member.up for member in self.network.members)
            log.warning(
                "%d of %d neighbours are up after %.0f s; training begins without the others", up, wanted, timeout
            )

    def _train(self) -> None:
        began = time.monotonic()
        try:
            while not self._stop() and not self._done:
                self._step()
                self._training_seconds = time.monotonic() - began
        finally:
            self._flush()

    def _step(self) -> None:
        step, every = self.learner.step, self.config.exchange.broadcast_every
        self._collect()
        if is_due(step, every):
            self._teach(lockstep_round(step, every) if self._lockstep else None)
        self.learner.study()
        if self.config.distill.alpha == 1:
            lesson = None
        elif self._lockstep:
            lesson = self._await_lesson(lockstep_round(step, every))
        else:
            self._collect()
            lesson = self._board.pick(step)
        self._losses = self.learner.learn(lesson)
        self._count(lesson)
        if is_evaluated(self.learner.step, self.config):
            # Kept if SIGTERM cuts it short: the last whole evaluation is the better news.
            self._accuracy = self.learner.evaluate(self.data.evaluation, stop=self._stop) or self._accuracy
        self._record(lesson)
        self._tell()
        every = self.config.train.checkpoint_every
        if every and self.learner.step % every == 0:
            self._save()
        self._report("training")

    def _linger(self) -> None:
        """Teach on, a round whenever others speak of a newer one, until no neighbour needs it."""
        limit = self.config.exchange.linger
        deadline = time.monotonic() + (DEFAULT_LINGER if limit is None else limit)
        pace = self._training_seconds / max(1, self.learner.step) * self.config.exchange.broadcast_every
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
        log_probs, ready = to_host(self.learner.teach(now, keep=keep))
        self.network.publish(now, log_probs, ready)

    def _await_lesson(self, round: int) -> Lesson | None:
        """The synchronous lesson: what every live neighbour says about exactly this round."""

        def missing() -> list[int]:
            self._collect()
            waited = (m for m in self.network.members if m.up and not m.done)
            return [m.id for m in waited if self._board.last_round(m.id) < round]

        if missing():
            self._waits += 1
            timeout = self.config.exchange.sync or 0.0
            self.network.wait_until(lambda: not missing(), timeout=timeout, stop=self._stop)
            self._missing += len(missing())
        return self._board.pick_round(round, self.learner.step)

    def _count(self, lesson: Lesson | None) -> None:
        self._lesson = lesson
        if lesson is not None:
            self._lessons += 1
            self._fresh += lesson.fresh

    def _record(self, lesson: Lesson | None) -> None:
        assert self._losses is not None
        record: dict[str, Any] = {
            "step": self.learner.step,
            "round": self._rounds.published,
            "lesson": lesson.round if lesson else None,
            "teachers": list(lesson.teachers) if lesson else [],
            "age": lesson.age if lesson else None,
            "fresh": lesson.fresh if lesson else False,
        }
        if is_evaluated(self.learner.step, self.config) and self._accuracy:
            record |= {"accuracy": self._accuracy.overall, "own_accuracy": self._accuracy.own}
        self._records.append((record, self._losses))
        if len(self._records) >= FLUSH_EVERY:
            self._flush()

    def _flush(self) -> None:
        """Write the records; reading a loss waits for the device, hence not at every step."""
        records, self._records = self._records, []
        lines = [
            json.dumps({**record, "labels": float(losses.labels), "distil": _number(losses.distil)})
            for record, losses in records
        ]
        try:
            with (self._out / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.writelines(line + "\n" for line in lines)
        except OSError as error:
            self._warn_of_disk(error)

    def _save(self) -> None:
        if self._saved == self.learner.step:
            return
        info = CheckpointInfo(
            id=self.learner.id,
            step=self.learner.step,
            round=self._rounds.published,
            model=self.config.model.for_client(self.learner.id),
            classes=self.data.classes,
            size=self.data.evaluation.images.shape[-1],
        )
        try:
            save_checkpoint(self._out, info, self.learner.state())
            self._saved = self.learner.step
        except OSError as error:
            self._warn_of_disk(error)

    def _write_summary(self) -> None:
        content = json.dumps(self.summary().to_mapping(), indent=2) + "\n"
        try:
            write_atomically(self._out / "summary.json", content.encode())
        except OSError as error:
            self._warn_of_disk(error)

    def _warn_of_disk(self, error: OSError) -> None:
        log.warning("cannot write to %s: %s; training goes on", self._out, error.strerror or error)

    # -- what it says ------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        self.network.tell(
            Heartbeat(
                step=self.learner.step,
                steps=self.config.train.steps,
                round=self._rounds.published,
                done=self._done,
                accuracy=self._accuracy.overall if self._accuracy else None,
            )
        )

    def _report(self, state: str) -> None:
        now = time.monotonic()
        evaluated = is_evaluated(self.learner.step, self.config)
        if state == self._reported[0] and not evaluated and now - self._reported[1] < REPORT_EVERY:
            return
        self._reported = (state, now)
        members, losses = self.network.members, self._losses
        self._watch(
            Progress(
                id=self.learner.id,
                state=state,
                step=self.learner.step,
                steps=self.config.train.steps,
                round=self._rounds.published,
                up=sum(member.up for member in members),
                age=self._lesson.age if self._lesson else None,
                labels=None if losses is None else float(losses.labels),
                distil=None if losses is None else _number(losses.distil),
                accuracy=self._accuracy.overall if self._accuracy else None,
                bytes_sent=sum(member.bytes_sent for member in members),
                bytes_received=sum(member.bytes_received for member in members),
            )
        )


def to_host(tensor: Tensor) -> tuple[Tensor, Callable[[], None]]:
    """A copy in CPU memory, and what to call before reading it: on CUDA the copy is under way meanwhile."""
    if tensor.device.type != "cuda":
        return tensor.cpu(), lambda: None
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()
    return host, copied.synchronize


def _number(loss: Tensor | None) -> float | None:
    return None if loss is None else float(loss)
