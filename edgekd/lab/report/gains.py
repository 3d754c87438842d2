"""How much each peer of a run has gained in each class from its neighbours, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.files.evaluation_file import Counted, confusion_matrix
from edgekd.files.summary import differ
from edgekd.learning.evaluation import Confusion

ALONE, BALANCED = "alone", "alone, balanced"  # the names of the baselines


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassGain:
    """The gain in one class of one peer. Accuracies are over the images of the class; None if there are none."""

    private: int | None  # number of images of the class that the peer trains on
    images: int  # number of images of the class that it was evaluated on
    together: float | None
    alone: Mapping[str, float | None]  # name of the baseline -> accuracy
    against: str | None  # the baseline with which the gain is computed
    gain: float | None
    sure: bool  # whether the gain is more than chance, by `differ`; this is conservative, as the images are the same


def class_gains(
    counted: Mapping[int, Counted], alone: Mapping[str, Mapping[int, Confusion]], ids: Sequence[int]
) -> dict[int, tuple[ClassGain, ...]]:
    """Compute the gain in each class, for each peer by its id; empty if no peer has counts.

    The baseline is the balanced lone peer if it exists, since balance needs no neighbours.

    Args:
        counted: peer id -> the counts of the peer in the group.
        alone: name of the baseline -> peer id -> the counts of the lone peer.
        ids: the ids of the peers.
    """
    classes = len(next(iter(counted.values())).classes) if counted else 0
    against = BALANCED if BALANCED in alone else ALONE if ALONE in alone else None
    found = {}
    for id in ids:
        own = counted.get(id)
        together = _counts(own.confusion if own else (), classes)
        lone = {name: _counts(of.get(id, ()), classes) for name, of in alone.items()}
        found[id] = tuple(
            _gain(own.private[i] if own else None, together[i], {name: of[i] for name, of in lone.items()}, against)
            for i in range(classes)
        )
    return found


def _counts(confusion: Confusion, classes: int) -> NDArray[np.int64]:
    """For each class, the number of images that were predicted correctly, and of all its images, ``[classes, 2]``."""
    matrix = confusion_matrix(confusion, classes)
    return np.stack([np.diag(matrix), matrix.sum(axis=1)], axis=1)


def _gain(
    private: int | None, together: NDArray[np.int64], lone: Mapping[str, NDArray[np.int64]], against: str | None
) -> ClassGain:
    reached = _share(together)
    before = None if against is None else _share(lone[against])
    gain = None if reached is None or before is None else reached - before
    sure = gain is not None and against is not None and differ(*together.tolist(), *lone[against].tolist())
    return ClassGain(
        private=private,
        images=int(together[1]),
        together=reached,
        alone={name: _share(each) for name, each in lone.items()},
        against=against,
        gain=gain,
        sure=sure,
    )


def _share(counts: NDArray[np.int64]) -> float | None:
    right, images = counts.tolist()
    return right / images if images else None


def gain_text(found: ClassGain) -> str:
    """A gain as text, for example ``+0.21*``, with a star if it is sure; a dash for None."""
    return "-" if found.gain is None else f"{round(found.gain, 2) + 0.0:+.2f}{'*' * found.sure}"
