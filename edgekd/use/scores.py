"""Scores of a head of a trained network: by class, by rank, and how reliable its probabilities are.

scikit-learn computes them. Only this module imports it, and only `edgekd eval` imports this module.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support, top_k_accuracy_score
from torch import Tensor

from edgekd.data.sources import Labelled
from edgekd.learning.evaluation import Confusion
from edgekd.losses.distillation import log_prior

BINS = 10  # number of intervals of probabilities, of equal width


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassScore:
    """The scores of one class.

    A score is None if it is not defined: the class was never predicted, or has no images.
    """

    name: str
    precision: float | None  # fraction of the images predicted as this class that belong to it
    recall: float | None  # fraction of its images that were predicted correctly
    f1: float | None  # the harmonic mean of both
    support: int  # number of its images


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """The images whose most probable class has a probability in (low, high]."""

    low: float
    high: float
    images: int
    confidence: float  # mean of that probability
    accuracy: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scores:
    """The scores of one head on labelled images; fractions are in [0, 1]."""

    accuracy: float
    own_accuracy: float | None  # with the class frequencies of the private shard, for images and network; None: unknown
    samples: int
    top_k: dict[int, float]  # k -> fraction of images whose class is among the k most probable ones
    classes: tuple[ClassScore, ...]
    confusion: NDArray[np.int64]  # number of images by true class (rows) and predicted class (columns)
    bins: tuple[Bin, ...]  # only bins with images; (): the probabilities are not known

    @property
    def macro_f1(self) -> float:
        """The mean F1 score of the classes that have images."""
        return float(np.mean([each.f1 for each in self.classes if each.support and each.f1 is not None]))

    @property
    def confidence(self) -> float | None:
        """The mean probability of the most probable class; None: unknown."""
        if not self.bins:
            return None
        return sum(each.images * each.confidence for each in self.bins) / self.samples

    @property
    def calibration_error(self) -> float | None:
        """The expected calibration error: the mean difference of probability and accuracy over the images; or None."""
        if not self.bins:
            return None
        return sum(each.images * abs(each.confidence - each.accuracy) for each in self.bins) / self.samples

    def most_taken_for(self, index: int) -> tuple[str, float] | None:
        """The wrong class most often predicted for the images of a class, and its fraction; None: all are right."""
        row = self.confusion[index].copy()
        row[index] = 0
        if not row.any():
            return None
        return self.classes[int(row.argmax())].name, float(row.max() / self.classes[index].support)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """What must be known about the peer's private images to compute its own accuracy."""

    counts: tuple[int, ...]  # number of images of each class
    balanced: bool  # whether the network was trained without the class frequencies, so that they must be added


def scores(logits: Tensor, evaluation: Labelled, names: Sequence[str], *, top: int, shard: Shard | None) -> Scores:
    """Compute the scores of one head.

    Args:
        logits: the logits of the images, ``[N, classes]``, on the CPU.
        evaluation: the labelled images.
        names: the class names.
        top: the largest k in `Scores.top_k`, at most the number of classes - 1.
        shard: the peer's private images; None: unknown.
    """
    labels, known = evaluation.labels.numpy(), list(range(len(names)))
    predicted = logits.argmax(dim=1).numpy()
    probabilities = logits.double().softmax(dim=1).numpy()
    accuracy = float(accuracy_score(labels, predicted))
    ranks = range(2, min(top, len(names) - 1) + 1)
    more = {k: float(top_k_accuracy_score(labels, probabilities, k=k, labels=known)) for k in ranks}
    return Scores(
        accuracy=accuracy,
        own_accuracy=None if shard is None else _own(logits, evaluation.labels, shard),
        samples=len(labels),
        top_k={1: accuracy, **more},
        classes=_by_class(labels, predicted, names),
        confusion=confusion_matrix(labels, predicted, labels=known),
        bins=_bins(probabilities.max(axis=1), predicted == labels),
    )


def counted_scores(confusion: Confusion, names: Sequence[str]) -> Scores:
    """Compute the scores that need only counts.

    Args:
        confusion: the counts of at least one image.
        names: the class names.
    """
    labels, predicted, counts = np.array(confusion).T
    accuracy = float(accuracy_score(labels, predicted, sample_weight=counts))
    return Scores(
        accuracy=accuracy,
        own_accuracy=None,
        samples=int(counts.sum()),
        top_k={1: accuracy},
        classes=_by_class(labels, predicted, names, counts),
        confusion=confusion_matrix(labels, predicted, labels=list(range(len(names))), sample_weight=counts),
        bins=(),
    )


def _by_class(
    labels: NDArray[Any], predicted: NDArray[Any], names: Sequence[str], counts: NDArray[Any] | None = None
) -> tuple[ClassScore, ...]:
    known = list(range(len(names)))
    found = precision_recall_fscore_support(labels, predicted, labels=known, zero_division=np.nan, sample_weight=counts)
    return tuple(
        ClassScore(name=name, precision=_known(p), recall=_known(r), f1=_known(f), support=int(support))
        for name, p, r, f, support in zip(names, *found, strict=True)
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _bins(confidence: NDArray[Any], right: NDArray[Any]) -> tuple[Bin, ...]:
    edges = np.linspace(0, 1, BINS + 1)
    accuracies, confidences = calibration_curve(right, np.minimum(confidence, 1), n_bins=BINS, pos_label=True)
    images = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=BINS)
    found = zip(np.flatnonzero(images).tolist(), confidences.tolist(), accuracies.tolist(), strict=True)
    return tuple(
        Bin(low=i / BINS, high=(i + 1) / BINS, images=int(images[i]), confidence=mean, accuracy=accuracy)
        for i, mean, accuracy in found
    )


def _own(logits: Tensor, labels: Tensor, shard: Shard) -> float | None:
    """The accuracy with weights for the images, so that each class counts as much as in the shard; None: undefined."""
    counts = torch.tensor(shard.counts)
    if shard.balanced:
        logits = logits + log_prior(torch.arange(len(counts)).repeat_interleave(counts), len(counts))
    weight = (counts / torch.bincount(labels, minlength=len(counts)))[labels]
    if not weight.sum() > 0:  # none of the images has a class of the shard
        return None
    return float(accuracy_score(labels.numpy(), logits.argmax(dim=1).numpy(), sample_weight=weight.numpy()))
