"""A peer's progress, as it is reported to the caller, and the record of each step in `metrics.jsonl`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgekd.learning.evaluation import Accuracy
from edgekd.protocol.counts import Counts
from edgekd.protocol.messages import Lesson, State, Training


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress(Counts):
    """A report on the progress of a peer; iterating over a `peer.Peer` gives these.

    >>> progress = box.progress  # of a peer that has done its three steps
    >>> progress.state.value, progress.step, progress.accuracy == box.accuracy, progress.up
    ('done', 3, True, 0)
    """

    id: int
    state: State
    step: int
    steps: int  # 0: without end
    round: int  # the newest one that it has published; -1: none
    up: int  # neighbours that are up
    age: int | None  # steps since the youngest predictions of its lesson arrived; None: no lesson
    labels: float | None  # the loss on labels in the last step
    distil: float | None  # the distillation loss in the last step; None: no lesson
    accuracy: float | None  # of the last evaluation
    accuracy_step: int | None  # the step of that evaluation
    evaluation_samples: int | None  # images that it was measured on
    best: float | None  # the best accuracy so far
    falls: int  # how often the accuracy fell clearly below the best; counted only if `steps` is 0
    private_samples: int  # images that it trains on now
    bytes_sent: int
    bytes_received: int
    seconds: float  # of training, in this process
    first_step: int  # the step at which this process began: 0, or where it resumed
    failing: tuple[str, ...]  # what could not be written when last tried, of `peer.node.recorder.FILES`

    def training(self) -> Training:
        """The part of it that goes into the peer's status."""
        return Training(
            loss_labels=self.labels,
            loss_distil=self.distil,
            lessons=self.lessons,
            fresh_lessons=self.fresh_lessons,
            failing=self.failing,
            evaluation_images=self.evaluation_samples,
            best=self.best,
            seconds=self.seconds,
            lesson_age=self.age,
            first_step=self.first_step,
        )


OnProgress = Callable[[Progress], None]


def step_record(
    step: int, round: int, lesson: Lesson | None, accuracy: Accuracy | None, private_samples: int
) -> dict[str, Any]:
    """Make the record of one step for `metrics.jsonl`, without its losses.

    Args:
        step: steps done.
        round: the newest one that was published.
        lesson: the neighbours' predictions that the step learned from; None: none.
        accuracy: of the evaluation in this step; None: there was none.
        private_samples: images that the peer trained on.
    """
    record: dict[str, Any] = {
        "step": step,
        "round": round,
        "lesson": lesson.round if lesson else None,
        "teachers": list(lesson.teachers) if lesson else [],
        "age": lesson.age if lesson else None,
        "fresh": lesson.fresh if lesson else False,
        "private_samples": private_samples,
    }
    if accuracy is not None:
        record |= {"accuracy": accuracy.overall, "own_accuracy": accuracy.own, "head_accuracies": accuracy.heads}
        record["evaluation_samples"] = accuracy.samples
    return record
