"""The accuracy of a model on labelled images."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from edgekd.config import TrainConfig
from edgekd.data.sources import Labelled

PIXELS = 256 * 32 * 32  # pixels in a batch; this limits the memory, and the time until a stop takes effect


# (class, predicted class, number of images), sorted. Only pairs that occur have an entry, so many classes need little.
Confusion: TypeAlias = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The accuracy of a network: fractions, in [0, 1], of the evaluation set that are classified correctly."""

    overall: float  # of the answering head; all images have equal weight
    own: float  # of the same head, with the class frequencies of the private shard as weights and as prior
    heads: tuple[float, ...]  # `overall` of each head
    samples: int  # number of evaluation images
    confusion: Confusion = field(default=(), compare=False, repr=False)  # of the same head; (): unknown
    step: int | None = field(default=None, compare=False)  # step of the weights; None: unknown


@torch.no_grad()
def evaluate(
    predict: Callable[[Tensor], Tensor],
    evaluation: Labelled,
    *,
    shard: Tensor,
    head: int = -1,
    log_prior: Tensor | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Accuracy | None:
    """Measure the accuracy of `predict` on labelled images.

    Args:
        predict: from uint8 images ``[batch, 3, H, W]`` to logits ``[heads, batch, classes]``, in evaluation mode.
        evaluation: the labelled images.
        shard: the number of private images of each class, ``[classes]``.
        head: the index of the head for `Accuracy.overall` and `Accuracy.own`.
        log_prior: ``[classes]``, added to the logits for `Accuracy.own`; None: the logits already contain it.
        stop: is called before each batch.

    Returns:
        The accuracy; None if `stop()` returned True before the last batch.
    """
    classes = shard.numel()
    right: Tensor | None = None  # [heads + 1, classes]: for each head, and for `head` with the prior
    predicted: list[Tensor] = []  # by `head`
    batch = max(1, PIXELS // evaluation.images.shape[-1] ** 2)
    batches = zip(evaluation.images.split(batch), evaluation.labels.split(batch), strict=True)
    for images, labels in batches:
        if stop():
            return None
        logits = predict(images)
        with_prior = logits[head] if log_prior is None else logits[head] + log_prior
        found = [_right(scores, labels, classes) for scores in (*logits, with_prior)]
        right = torch.stack(found) if right is None else right + torch.stack(found)
        predicted.append(logits[head].argmax(dim=1).cpu())
    assert right is not None  # there are images
    count = torch.bincount(evaluation.labels, minlength=classes)
    weight = shard.cpu() * (count > 0)  # classes that are missing in the evaluation set do not count
    own = (weight * right[-1].double() / count.clamp(min=1)).sum() / weight.sum().clamp(min=1)
    heads = [float(each.sum().double() / count.sum()) for each in right[:-1]]
    confusion = _confusion(evaluation.labels, torch.cat(predicted), classes)
    return Accuracy(heads[head], float(own), tuple(heads), len(evaluation.labels), confusion)


def _confusion(labels: Tensor, predicted: Tensor, classes: int) -> Confusion:
    pairs, counts = torch.unique(labels * classes + predicted, return_counts=True)
    return tuple((*divmod(pair, classes), count) for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True))


def _right(scores: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The number of correctly classified images of each class, ``[classes]``."""
    return torch.bincount(labels[scores.argmax(dim=1).cpu() == labels], minlength=classes)


def is_evaluated(steps_done: int, config: TrainConfig) -> bool:
    """Whether a learner is evaluated after this many steps."""
    every = config.eval_every
    return steps_done == config.steps or (every > 0 and steps_done % every == 0)
