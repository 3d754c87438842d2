"""The best evaluation of a peer so far, and whether the newest one has fallen clearly below it."""

from dataclasses import dataclass, replace

from edgekd.files.summary import SURE, differ
from edgekd.learning.evaluation import Accuracy

AGAIN = 1.0  # standard errors: a fall is over once the accuracy is so near to the best, and the next one is news


@dataclass(frozen=True, kw_only=True, slots=True)
class Best:
    """What counts is `Accuracy.overall`, the accuracy that a peer reports. Of equal ones the first is the best."""

    accuracy: Accuracy | None = None  # None: there was no evaluation yet
    step: int = 0  # at which it was reached
    fallen: bool = False  # whether a fall below it has begun and is not over


def beats(found: Accuracy, best: Accuracy | None) -> bool:
    """Whether `found` is better than the best so far. Both are of the same images."""
    return best is None or found.overall > best.overall


def after(best: Best, found: Accuracy, step: int) -> Best:
    """The best once `found` has been reached at `step`.

    A fall begins when the accuracy is more than `SURE` standard errors below the best. It ends at `AGAIN` standard
    errors, so an accuracy about the limit does not begin one fall after another.
    """
    if best.accuracy is None or beats(found, best.accuracy):
        return Best(accuracy=found, step=step)
    below = differ(*_counts(best.accuracy), *_counts(found), AGAIN if best.fallen else SURE)
    return replace(best, fallen=below)


def _counts(accuracy: Accuracy) -> tuple[int, int]:
    """Images that were classified correctly, and all of them."""
    return round(accuracy.overall * accuracy.samples), accuracy.samples
