"""The best evaluation of a peer so far, and whether the newest one is clearly worse."""

from dataclasses import dataclass, replace

from edgekd.files.summary import SURE, differ
from edgekd.learning.evaluation import Accuracy

AGAIN = 1.0  # standard errors; a fall is over when the accuracy is this near to the best again


@dataclass(frozen=True, kw_only=True, slots=True)
class Best:
    """The best evaluation so far; `Accuracy.overall` is compared, and of equal ones the first is the best."""

    accuracy: Accuracy | None = None  # None: no evaluation yet
    step: int = 0  # the step of this evaluation
    fallen: bool = False  # whether the accuracy has fallen clearly below it and has not recovered


def beats(found: Accuracy, best: Accuracy | None) -> bool:
    """Whether `found` is better than the best so far. Both must be measured on the same images."""
    return best is None or found.overall > best.overall


def after(best: Best, found: Accuracy, step: int) -> Best:
    """The best evaluation after `found` was measured at `step`.

    A fall begins when the accuracy is more than `SURE` standard errors below the best. It ends when it is less than
    `AGAIN` standard errors below. So an accuracy that varies around one limit does not cause many falls.
    """
    if best.accuracy is None or beats(found, best.accuracy):
        return Best(accuracy=found, step=step)
    below = differ(*_counts(best.accuracy), *_counts(found), AGAIN if best.fallen else SURE)
    return replace(best, fallen=below)


def _counts(accuracy: Accuracy) -> tuple[int, int]:
    """The number of images that were classified correctly, and of all images."""
    return round(accuracy.overall * accuracy.samples), accuracy.samples
