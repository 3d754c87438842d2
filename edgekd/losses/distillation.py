"""The two losses of a step: the distillation loss against all teachers, and the label loss."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.config import DistillConfig
from edgekd.losses.combinations import combine
from edgekd.losses.measures import nway_dissimilarity, second_order, unchecked_dissimilarity
from edgekd.names import NWAY


def distil(
    teachers: Sequence[Tensor], student_logits: Tensor, config: DistillConfig, weights: Tensor | None = None
) -> Tensor:
    """The distillation loss against all teachers. The caller multiplies it by its weight.

    Args:
        teachers: one or more, each probabilities ``[batch, classes]``, rows sum to 1; constants.
        student_logits: ``[batch, classes]``; gradients flow through these.
        config: measure, combine, sharpen, temperature, temperature_scaling, kd_scale and kd_reduction are used.
        weights: of the teachers, ``[teachers]``, >= 0, sum to 1; only combine "agreement" uses them. None: equal.

    Returns:
        A scalar, >= 0, reduced over the batch. With combine "sum" it grows with the number of teachers.

    Raises:
        ValueError: there is no teacher, or a teacher has another shape than the student.
    """
    if not teachers or any(q.shape != student_logits.shape for q in teachers):
        raise ValueError(
            f"teachers must be one or more of {list(student_logits.shape)}, got {[list(q.shape) for q in teachers]}"
        )
    stacked = torch.stack(list(teachers))
    if config.combine == NWAY:
        loss = nway_dissimilarity(config.measure, stacked, student_logits, config.temperature)  # [batch]
    else:
        targets = combine(config.combine, stacked, config.sharpen, weights)
        losses = [unchecked_dissimilarity(config.measure, q, student_logits, config.temperature) for q in targets]
        loss = torch.stack(losses).sum(dim=0)
    scale = config.temperature**2 if config.temperature_scaling else 1.0
    if config.kd_scale == "matched":
        scale *= second_order(config.measure, len(teachers) + 1 if config.combine == NWAY else None)
    return scale * (loss.mean() if config.kd_reduction == "mean" else loss.sum())


def check_loss(config: DistillConfig) -> None:
    """Find the measure and the combination before training begins; the user's own functions are tried out.

    With alpha 1 nothing is checked, since the loss is not used.

    Raises:
        ConfigError: a function cannot be loaded, or fails in its trial.
    """
    if config.alpha < 1:
        teacher = torch.full((1, 1, 2), 0.5)
        distil(list(teacher), torch.zeros(1, 2), config)


def distil_heads(
    teachers: Sequence[Tensor], student_logits: Tensor, config: DistillConfig, weights: Tensor | None = None
) -> Tensor:
    """The distillation loss of all heads.

    With several heads, head i learns from the teachers' head i - 1, and head 0 does not learn from teachers. A single
    head learns from the teachers' single head.

    Args:
        teachers: one or more, each probabilities ``[heads, batch, classes]``.
        student_logits: ``[heads, batch, classes]``; gradients flow through these.
        config, weights: as in `distil`.

    Returns:
        A scalar, >= 0: the sum over the heads.

    Source: Zhmoginov et al. 2023 (multi-headed distillation).
    """
    heads = len(student_logits)
    pairs = [(0, 0)] if heads == 1 else [(head, head - 1) for head in range(1, heads)]
    losses = [
        distil([probs[theirs] for probs in teachers], student_logits[own], config, weights) for own, theirs in pairs
    ]
    return torch.stack(losses).sum()


def weigh_labels(losses: Sequence[Tensor], alpha: float, *, taught: bool, two_phase: bool) -> Tensor | None:
    """The part of a step's loss that comes from the labels.

    Args:
        losses: one scalar for each head, from `label_loss`.
        alpha: the weight of the labels on each head that has teachers.
        taught: whether there are teachers in this step. If not, only head 0 learns, and only from the labels.
        two_phase: whether head 0 has learned in the first of two phases. If there are several heads, only the others
            then go on learning.

    Returns:
        A scalar; None if the labels have no weight in this step.
    """
    first, others = losses[0], losses[1:]
    if not taught:
        return first
    mixed = [alpha * loss for loss in others or [first]] if alpha > 0 else []
    terms = mixed if two_phase or not others else [first, *mixed]
    return torch.stack(terms).sum() if terms else None


def warm_up(config: DistillConfig, step: int) -> float:
    """The fraction of the distillation weight at `step` (>= 0): it rises from 0 to 1 over ``kd_warmup`` steps."""
    return min(1.0, step / config.kd_warmup) if config.kd_warmup else 1.0


def log_prior(labels: Tensor, classes: int) -> Tensor:
    """The natural logarithm of a shard's class frequencies.

    One is added to the count of each class, so the frequency of a class without samples is above 0.

    Args:
        labels: int64 ``[samples]``, each in [0, classes).
        classes: the number of classes.

    Returns:
        float32 ``[classes]``, <= 0; the exponentials sum to 1.

    Raises:
        ValueError: a label is outside [0, classes).
    """
    counts = torch.bincount(labels, minlength=classes)  # raises ValueError on negative labels
    if len(counts) > classes:
        raise ValueError(f"labels must be in [0, {classes}), got {int(labels.max())}")
    return ((counts + 1) / (len(labels) + classes)).log()


def label_loss(logits: Tensor, labels: Tensor, log_prior: Tensor | None) -> Tensor:
    """The mean cross-entropy against the labels, in nats. With a prior it is balanced softmax, CE(z + ln prior, y).

    With the prior, the logits do not learn the class frequencies of the shard.

    Args:
        logits: ``[batch, classes]``; gradients flow through these.
        labels: int64 ``[batch]``.
        log_prior: ``[classes]``, from `log_prior`; None: the plain cross-entropy.

    Source: Ren et al. 2020 (balanced meta-softmax), Menon et al. 2021 (logit adjustment).
    """
    return F.cross_entropy(logits if log_prior is None else logits + log_prior, labels)
