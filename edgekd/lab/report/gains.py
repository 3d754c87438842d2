"""Which classes each peer of a run has gained from its neighbours, and how sure that is."""

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
    """One class of one peer. Accuracies are of the class's images; None where it has none, or nothing was counted."""

    private: int | None  # images of the class that the peer trains on
    images: int  # that it was evaluated on
    together: float | None
    alone: Mapping[str, float | None]  # by the name of the baseline
    against: str | None  # the baseline that the gain is counted from
    gain: float | None
    sure: bool  # the gain is more than chance, by `differ`; the same images were seen, so this is careful


def class_gains(
    counted: Mapping[int, Counted], alone: Mapping[str, Mapping[int, Confusion]], ids: Sequence[int]
) -> dict[int, tuple[ClassGain, ...]]:
    """By the peer's id, a gain for each class; empty where no peer has counted anything.

    The gain is counted from the lone peer that is balanced, if there is one: balance needs no neighbour.

    Args:
        counted: by the peers that were together.
        alone: by the lone peers, by the name of the baseline.
        ids: of the peers.
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
    """Of each class: images that were predicted right, and all of them, ``[classes, 2]``."""
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
    """``+0.21*``, with a star where the gain is sure; a dash where there is none."""
    return "-" if found.gain is None else f"{round(found.gain, 2) + 0.0:+.2f}{'*' * found.sure}"
