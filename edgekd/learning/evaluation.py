"""How well a model does on labelled images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from edgekd.config import TrainConfig
from edgekd.data.sources import Labelled

PIXELS = 256 * 32 * 32  # in a forward pass: bounds its memory, and how long a stop has to wait


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Shares in [0, 1] of the evaluation set that are classified rightly."""

    overall: float  # all images alike
    own: float  # classes weighted as in the private shard, whose prior the predictions then use
    heads: tuple[float, ...]  # overall, of every head; the two above are those of one of them


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
    """Accuracy of `predict` on `evaluation`.

    Args:
        predict: from uint8 images ``[batch, 3, H, W]`` to logits ``[heads, batch, classes]``; in evaluation mode.
        shard: how many private images there are of each class, ``[classes]``.
        head: whose accuracy it is.
        log_prior: ``[classes]``, added to the logits for the own accuracy; None: the logits hold it already.
        stop: asked before each batch.

    Returns:
        None if `stop()` became true on the way.
    """
    classes = shard.numel()
    right: Tensor | None = None  # [heads + 1, classes]: each head's, then with the prior
    batch = max(1, PIXELS // evaluation.images.shape[-1] ** 2)
    batches = zip(evaluation.images.split(batch), evaluation.labels.split(batch), strict=True)
    for images, labels in batches:
        if stop():
            return None
        logits = predict(images)
        with_prior = logits[head] if log_prior is None else logits[head] + log_prior
        found = [_right(scores, labels, classes) for scores in (*logits, with_prior)]
        right = torch.stack(found) if right is None else right + torch.stack(found)
    assert right is not None  # there are images
    count = torch.bincount(evaluation.labels, minlength=classes)
    weight = shard.cpu() * (count > 0)  # a class that the evaluation set lacks says nothing
    own = (weight * right[-1].double() / count.clamp(min=1)).sum() / weight.sum().clamp(min=1)
    heads = [float(each.sum().double() / count.sum()) for each in right[:-1]]
    return Accuracy(heads[head], float(own), tuple(heads))


def _right(scores: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How many of each class are found, ``[classes]``."""
    return torch.bincount(labels[scores.argmax(dim=1).cpu() == labels], minlength=classes)


def is_evaluated(steps_done: int, config: TrainConfig) -> bool:
    """Whether a learner is evaluated after this many steps."""
    every = config.eval_every
    return steps_done == config.steps or (every > 0 and steps_done % every == 0)
