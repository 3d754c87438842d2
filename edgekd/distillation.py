"""The two losses of a step: several teachers made one, and the labels', with or without balance."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.config import DistillConfig
from edgekd.measures import SECOND_ORDER, dissimilarity


def distil(teachers: Sequence[Tensor], student_logits: Tensor, config: DistillConfig) -> Tensor:
    """The distillation loss against all teachers; `kd_weight` is left to the caller.

    Args:
        teachers: one or more, each probabilities ``[batch, classes]``, rows sum to 1; constants.
        student_logits: ``[batch, classes]``; gradients flow through these.
        config: measure, combine, temperature, temperature_scaling, kd_scale and kd_reduction are used.

    Returns:
        A scalar, >= 0, reduced over the batch. With combine "sum" it grows with the number of teachers.

    Raises:
        ValueError: there is no teacher, or a teacher's shape is not the student's.
    """
    if not teachers or any(q.shape != student_logits.shape for q in teachers):
        raise ValueError(
            f"teachers must be one or more of {list(student_logits.shape)}, got {[list(q.shape) for q in teachers]}"
        )
    losses = [
        dissimilarity(config.measure, q, student_logits, config.temperature) for q in _combine(teachers, config.combine)
    ]
    scale = SECOND_ORDER.get(config.measure, 1.0) if config.kd_scale == "matched" else 1.0
    if config.temperature_scaling:
        scale *= config.temperature**2
    loss = torch.stack(losses).sum(dim=0)  # [batch]
    return scale * (loss.mean() if config.kd_reduction == "mean" else loss.sum())


def _combine(teachers: Sequence[Tensor], how: str) -> Sequence[Tensor]:
    """The distributions whose losses add up."""
    if how == "sum":
        return teachers
    if how == "average":
        return [torch.stack(list(teachers)).mean(dim=0)]
    return [_geometric_mean(torch.stack(list(teachers)))]


def _geometric_mean(probs: Tensor) -> Tensor:
    """The normalised geometric mean over dim 0, which is the softmax of the averaged logits."""
    # Floored: where supports are disjoint, each class would get -inf from somebody.
    return F.softmax(probs.clamp_min(torch.finfo(probs.dtype).tiny).log().mean(dim=0), dim=-1)


def kd_weight(config: DistillConfig, step: int) -> float:
    """What the distillation loss is multiplied by at `step` (>= 0): rises from 0 over the first ``kd_warmup`` steps."""
    return config.kd_weight * min(1.0, step / config.kd_warmup) if config.kd_warmup else config.kd_weight


def log_prior(labels: Tensor, classes: int) -> Tensor:
    """ln of a shard's class frequencies, each class counted once more than it occurs: a class never seen has one too.

    Args:
        labels: int64 ``[samples]``, each in [0, classes).
        classes: how many there are.

    Returns:
        float32 ``[classes]``, <= 0; exp of it sums to 1.

    Raises:
        ValueError: a label is outside [0, classes).
    """
    counts = torch.bincount(labels, minlength=classes)  # raises on negative labels itself
    if len(counts) > classes:
        raise ValueError(f"labels must be in [0, {classes}), got {int(labels.max())}")
    return ((counts + 1) / (len(labels) + classes)).log()


def label_loss(logits: Tensor, labels: Tensor, log_prior: Tensor | None) -> Tensor:
    """The mean cross-entropy against the labels, in nats; with a prior it is balanced softmax: CE(z + ln prior, y).

    The prior takes the shard's class frequencies out of what the logits learn.

    Args:
        logits: ``[batch, classes]``; gradients flow through these.
        labels: int64 ``[batch]``.
        log_prior: ``[classes]`` from `log_prior`, or None: the plain cross-entropy.

    Source: Ren et al. 2020 (balanced meta-softmax), Menon et al. 2021 (logit adjustment).
    """
    return F.cross_entropy(logits if log_prior is None else logits + log_prior, labels)
