"""Two attacks by which a neighbour learns about a peer's private images from the peer's broadcasts.

Both attacks only use soft predictions on images that the attacker has, too. They are lower bounds: a better attack may
find more. Sources: Shokri et al. 2017 and Yeom et al. 2018 (membership inference), Papernot et al. 2018 and Jagielski
et al. 2020 (copying a model from its answers).
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor

from edgekd.config import Config
from edgekd.data.augment import normalise
from edgekd.data.public import PublicSet
from edgekd.data.sources import Labelled
from edgekd.learning.models import model_from_config
from edgekd.learning.optimiser import learning_rate, make_optimiser
from edgekd.seeds import derive, seeded


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A peer's predictions of one round, as its neighbours decode them."""

    round: int
    probs: Tensor  # float32 [rows, classes]: of the first head


def mean_prediction(said: Sequence[Broadcast]) -> Tensor:
    """The mean prediction over all rounds and images, ``[classes]``, sums to 1; the attack on the labels uses it."""
    return torch.stack([each.probs.mean(dim=0) for each in said]).mean(dim=0)


def total_variation(guess: Tensor, truth: Tensor) -> float:
    """The total variation of two distributions ``[classes]``: half the sum of absolute differences, in [0, 1]."""
    return float((guess - truth).abs().sum() / 2)


def named_right(guess: Tensor, others: Tensor, truth: Tensor, primary: int) -> float:
    """The share, in [0, 1], of a peer's most frequent labels that its predictions reveal.

    The attacker guesses the `primary` labels whose ratio of the peer's prediction to that of its neighbours is largest.
    A random guess reaches primary / classes.

    Args:
        guess: the peer's `mean_prediction`, ``[classes]``.
        others: the same of its neighbours, ``[neighbours, classes]``.
        truth: how often each label occurs in the peer's shard, ``[classes]``.
        primary: how many labels to guess, >= 1.
    """
    ratio = guess / others.mean(dim=0).clamp_min(torch.finfo(guess.dtype).tiny)
    named, frequent = (set(v.topk(primary).indices.tolist()) for v in (ratio, truth))
    return len(named & frequent) / primary


def copy_model(said: Sequence[Broadcast], public: PublicSet, config: Config, size: int) -> torch.nn.Module:
    """Train a network on one peer's broadcasts alone, one step for each round, as an attacker can do.

    Args:
        said: the peer's broadcasts, in the order of the rounds.
        public: the group's public set.
        config: the group's; the copy has the same network, initial weights and optimiser.
        size: side of the images, in pixels.
    """
    seed = derive(config.train.seed, "copy")
    with seeded(seed):
        one_head = dataclasses.replace(config.model, heads=1)
        model = model_from_config(one_head, 0, weights=config.weights, classes=len(public.classes), size=size)
    optimiser = make_optimiser(model, config)
    for step, each in enumerate(said):
        images = normalise(public.batch(each.round, public.rows(config.public_batch)))
        log_probs = F.log_softmax(model(images)[0] / config.distill.temperature, dim=-1)
        F.kl_div(log_probs, each.probs, reduction="batchmean").backward()
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config.train.schedule, config.peak_lr, step, config.steps)
        optimiser.step()
        optimiser.zero_grad()
    return model


def confidence(model: torch.nn.Module, images: Labelled) -> Tensor:
    """The natural logarithm of the probability that a network gives to the true label of each image, ``[images]``."""
    model.eval()
    with torch.no_grad():
        parts = images.images.split(256)
        logits = torch.cat([model(normalise(part))[0] for part in parts])
    return -F.cross_entropy(logits, images.labels, reduction="none")


def area_under_curve(members: Tensor, others: Tensor) -> float:
    """The area under the ROC curve: how often a member scores above a non-member, in [0, 1]; 0.5 is chance.

    Args:
        members: scores of images that were trained on, ``[images]``.
        others: scores of other images, ``[images]``.
    """
    truth = [1] * len(members) + [0] * len(others)
    return float(roc_auc_score(truth, torch.cat([members, others]).numpy()))


def matched(members: Labelled, others: Labelled) -> tuple[Labelled, Labelled]:
    """Take from both sets the same number of images of each label, so that they differ only in membership."""
    chosen: tuple[list[Tensor], list[Tensor]] = ([], [])
    for label in range(int(max(members.labels.max(), others.labels.max())) + 1):
        found = [(each.labels == label).nonzero().flatten() for each in (members, others)]
        count = min(map(len, found))
        for indices, where in zip(chosen, found, strict=True):
            indices.append(where[:count])
    first, second = (
        Labelled(images=each.images[torch.cat(indices)], labels=each.labels[torch.cat(indices)])
        for each, indices in zip((members, others), chosen, strict=True)
    )
    return first, second
