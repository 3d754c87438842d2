"""A peer's best evaluation: keeps its checkpoint, and warns when the accuracy falls clearly below it."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgekd.config import Config
from edgekd.data.sources import Labelled
from edgekd.errors import ConfigError
from edgekd.files.checkpoint import CheckpointInfo, Loaded, load_best
from edgekd.files.summary import with_error
from edgekd.learning.best import Best, after, beats
from edgekd.learning.evaluation import Accuracy
from edgekd.learning.learner import Learner
from peer.node.recorder import Recorder

log = logging.getLogger("edgekd")


class BestKeeper:
    """Compares each evaluation with the best one so far.

    Two accuracies are compared only if they were measured on the same number of images. Otherwise the evaluation set
    has changed, as it does on a box that takes new pictures. Then the best checkpoint is evaluated on the new set.

    Args:
        learner: evaluates the best checkpoint.
        recorder: writes the checkpoint.
        folder: of the peer.
        config: says whether to keep the best checkpoint, and whether training has no end. Only then falls are logged.
    """

    def __init__(self, learner: Learner, recorder: Recorder, folder: Path, config: Config) -> None:
        self._learner, self._recorder, self._folder = learner, recorder, folder
        self._keeps, self._endless = bool(config.train.keep_best), config.steps == 0
        self._kept: Accuracy | None = None  # of the checkpoint that is kept
        self.best = Best()
        self.falls = 0  # falls below the best that were logged

    def resume(self, check: Callable[[CheckpointInfo], None]) -> None:
        """Take over the best checkpoint in the folder, if there is one.

        Args:
            check: raises ConfigError if the checkpoint is not this peer's.

        Raises:
            ConfigError: as `check` says.
        """
        loaded = self._load()
        accuracy = loaded.info.accuracy if loaded else None
        if loaded is None or accuracy is None:
            return
        check(loaded.info)
        self._kept, self.best = accuracy, Best(accuracy=accuracy, step=loaded.info.step)
        reached = with_error(accuracy.overall, accuracy.samples)
        log.info("the best accuracy so far is %s, at step %d", reached, loaded.info.step)

    def compare(self, found: Accuracy, info: CheckpointInfo, evaluation: Labelled, stop: Callable[[], bool]) -> None:
        """Compare an evaluation with the best; keep the checkpoint if it is better, and log a fall.

        Args:
            found: the learner's accuracy on `evaluation`.
            info: the description of the checkpoint that the learner would make now.
            evaluation: the evaluation images.
            stop: becomes true when the peer should end early.
        """
        best = self.best.accuracy
        if best is not None and best.samples != found.samples and not self._measure_anew(evaluation, stop):
            return
        if self._keeps and beats(found, self._kept) and self._recorder.save_best(info, self._learner.state()):
            self._kept = found
        before, self.best = self.best, after(self.best, found, info.step)
        if self._endless and self.best.fallen and not before.fallen:
            self.falls += 1
            self._say_fall(found, info.step)

    def _measure_anew(self, evaluation: Labelled, stop: Callable[[], bool]) -> bool:
        """Evaluate the best checkpoint on the present images, or forget the best; False if `stop()` interrupted it."""
        loaded = self._load()
        if loaded is None:
            self._kept, self.best = None, replace(self.best, accuracy=None)
            return True
        found = self._learner.evaluate_as(loaded.state, loaded.info.step, evaluation, stop=stop)
        if found is None:
            return False
        self._kept, self.best = found, replace(self.best, accuracy=found, step=loaded.info.step)
        reached = with_error(found.overall, found.samples)
        log.info("other evaluation images than before: the best, of step %d, has %s on them", self.best.step, reached)
        return True

    def _load(self) -> Loaded | None:
        try:
            return load_best(self._folder)
        except ConfigError as error:
            log.warning("%s; done without", error)
            return None

    def _say_fall(self, found: Accuracy, step: int) -> None:
        best = self.best.accuracy
        assert best is not None  # there was a fall below it
        what = "`--which best` uses the best" if self._keeps else "--keep-best would have kept the best"
        log.warning(
            "the accuracy has fallen: %s at step %d, clearly below the best, %s at step %d; %s",
            *(with_error(found.overall, found.samples), step),
            *(with_error(best.overall, best.samples), self.best.step, what),
        )
