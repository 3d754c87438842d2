"""A head that begins as the linear discriminant of the features of a pretrained network.

A random head must first be learned, and while it is, its gradients disturb the features below it. The discriminant is
computed in closed form from one forward pass over a part of the private images: no step is needed, and nothing is sent.
Every class counts alike, so the head does not learn the class frequencies of the shard.

Source: Fisher 1936 (linear discriminant analysis); Kumar et al. 2022, Fine-tuning can distort pretrained features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.data.augment import normalise
from edgekd.data.sources import Labelled
from edgekd.learning.models import Classifier
from edgekd.losses.distillation import log_prior

MOST = 64  # images of each class that the discriminant is computed from
SHRINKAGE = 0.9  # of the covariance towards a multiple of the identity
SCALES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of the logits; the one with the least loss is taken
_BATCH = 64  # images of a forward pass


@torch.no_grad()
def start_as_discriminant(model: Classifier, private: Labelled, seed: int) -> None:
    """Set the weights of head 0 to the discriminant of `private`. The running statistics of batch norm do not move.

    Args:
        model: its head 0 is linear. It is in training mode, before and afterwards.
        private: the images, and labels in [0, classes); a class may have none.
        seed: decides which images are used, where a class has more than `MOST`.
    """
    head = model.heads[0]
    assert isinstance(head, nn.Linear)
    chosen = _some_of_each(private.labels, seed)
    model.eval()
    batches = [private.images[part].to(head.weight.device) for part in chosen.split(_BATCH)]
    features = torch.cat([model.backbone(normalise(images)).float().cpu() for images in batches])
    model.train()
    # On the CPU: a GPU adds up in no fixed order, and not each can solve.
    weight, bias = discriminant(features, private.labels[chosen], classes=len(head.bias))
    head.weight.copy_(weight)
    head.bias.copy_(bias)


def discriminant(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """The linear discriminant with equal frequencies of all classes.

    Args:
        features: ``[images, width]``, on the CPU.
        labels: int64 ``[images]``, each in [0, classes).
        classes: their number; a class without images has the mean of all features.

    Returns:
        The weight ``[classes, width]`` and the bias ``[classes]`` of logits, scaled so that the balanced softmax of
        the labels is most likely.
    """
    count = torch.bincount(labels, minlength=classes)
    sums = torch.zeros(classes, features.shape[1]).index_add_(0, labels, features)
    means = torch.where(count[:, None] > 0, sums / count.clamp(min=1)[:, None], features.mean(dim=0))
    apart = features - means[labels]
    covariance = apart.T @ apart / len(features)
    level = covariance.diagonal().mean().clamp(min=1e-6)  # 0 if all images of each class are alike
    covariance = torch.lerp(covariance, level * torch.eye(len(covariance)), SHRINKAGE)
    weight = torch.linalg.solve(covariance, means.T).T
    bias = -(weight * means).sum(dim=1) / 2
    weight, bias = weight - weight.mean(dim=0), bias - bias.mean()
    logits, prior = features @ weight.T + bias, log_prior(labels, classes)
    scale = min(SCALES, key=lambda scale: float(F.cross_entropy(scale * logits + prior, labels)))
    return scale * weight, scale * bias


def _some_of_each(labels: Tensor, seed: int) -> Tensor:
    """Indices of at most `MOST` images of each class, in a random order, int64."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    shuffled = labels[order]
    return torch.cat([order[shuffled == label][:MOST] for label in shuffled.unique()])
