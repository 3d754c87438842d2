"""A head computed without training steps: the linear discriminant of a network's features, at the start and at the end.

A random head must first be learned. While this happens, its gradients disturb the pretrained features below it. So the
head may begin as the discriminant of the private images' features. All classes have equal weight in it, so the head
does not learn the class frequencies of the shard.

At the end, the features have changed, and the head has followed them only in small steps. So the head may end as the
mean of the trained head and a new discriminant. This one uses the private images with their labels, and the public
images with the last predictions of the neighbours. Before that, the running statistics of batch norm, which have also
followed the features slowly, are measured again.

Each of the two costs one forward pass over these images. No training step is needed, and nothing is sent.

Source: Fisher 1936 (linear discriminant analysis); Kumar et al. 2022, Fine-tuning can distort pretrained features;
Wu and Johnson 2021, Rethinking "batch" in BatchNorm, section 3 (statistics measured anew).
"""

from collections.abc import Callable, Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.data.augment import normalise
from edgekd.data.sources import Labelled
from edgekd.learning.models import Classifier
from edgekd.learning.statistics import measure_statistics, train_mode
from edgekd.losses.distillation import log_prior
from edgekd.seeds import seeded

MOST_AT_START, MOST_AT_END = 64, 512  # largest number of private images of each class
MOST_OF_A_KIND = 4096  # largest number of private images in all, and of public images, at the end
SHRINKAGE_AT_START, SHRINKAGE_AT_END = 0.9, 0.1  # of the covariance towards a multiple of the identity, in [0, 1]
SCALES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of the logits; the one with the smallest loss is used
_BATCH = 64  # images in a forward pass; for the statistics of batch norm, of each kind
MOST_MEASURED = 512  # images of each kind for measuring these statistics


@torch.no_grad()
def start_as_discriminant(model: Classifier, private: Labelled, seed: int) -> None:
    """Set head 0 to the discriminant of `private`. The running statistics of batch norm do not change.

    Args:
        model: the network; its head 0 is linear. It is in evaluation mode afterwards.
        private: the images, and labels in [0, classes); a class may have no images.
        seed: determines which images are used if a class has more than `MOST_AT_START`.
    """
    head, chosen = _linear(model), _some_of_each(private.labels, MOST_AT_START, seed)
    labels, features = private.labels[chosen], _features(model, private.images, chosen)
    targets = F.one_hot(labels, len(head.bias)).float()
    weight, bias = discriminant(features, targets, SHRINKAGE_AT_START)
    logits, prior = features @ weight.T + bias, log_prior(labels, len(bias))
    scale = min(SCALES, key=lambda scale: float(F.cross_entropy(scale * logits + prior, labels)))
    head.weight.copy_(scale * weight)
    head.bias.copy_(scale * bias)


@torch.no_grad()
def end_as_discriminant(
    model: Classifier,
    private: Labelled,
    public: Tensor,
    said: Tensor,
    in_evaluation: Collection[nn.Module],
    seed: int,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Move head 0 half-way to the discriminant of `private` and of the public images with predictions.

    The private images together have the same weight as the public images together. If a feature is not finite, training
    has diverged, and the head does not change.

    Args:
        model: the network; its head 0 is linear. It is in evaluation mode afterwards.
        private: the images, and labels in [0, classes); a class may have no images.
        public: uint8 ``[images, 3, size, size]``.
        said: the neighbours' predictions for each public image, probabilities ``[images, classes]``. A row of zeros
            means that there is none; at least one row must have some.
        in_evaluation: the modules of the network that stay in evaluation mode, with their statistics.
        seed: determines which images are used if there are more than `MOST_AT_END` of a class or `MOST_OF_A_KIND`.
        stop: is called between two batches; if it returns True, the head does not change.
    """
    head = _linear(model)
    chosen = _some_of_each(private.labels, min(MOST_AT_END, max(1, MOST_OF_A_KIND // len(head.bias))), seed)
    known = _some(said.sum(dim=1).nonzero().flatten(), MOST_OF_A_KIND, seed)
    if stop():
        return
    _measure(model, in_evaluation, [(private.images, chosen), (public, known)], seed, stop)
    labels, own = private.labels[chosen], _features(model, private.images, chosen, stop)
    features = torch.cat([own, _features(model, public, known, stop)])
    if len(features) < len(chosen) + len(known):  # stopped
        return
    targets = torch.cat([F.one_hot(labels, len(head.bias)).float(), said[known]])
    weights = torch.cat([torch.full((len(part),), 1 / len(part)) for part in (chosen, known)])
    if not features.isfinite().all():
        return
    weight, bias = discriminant(features, targets, SHRINKAGE_AT_END, weights)
    trained = features @ head.weight.cpu().T + head.bias.cpu()
    scale = trained.std() / (features @ weight.T + bias).std().clamp(min=1e-12)  # both get logits of the same size
    head.weight.lerp_((scale * weight).to(head.weight), 0.5)
    head.bias.lerp_((scale * bias).to(head.bias), 0.5)


def discriminant(
    features: Tensor, targets: Tensor, shrinkage: float, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compute the linear discriminant with equal frequencies of all classes.

    Args:
        features: ``[images, width]``, on the CPU.
        targets: probabilities of the classes, ``[images, classes]``. For a class without any, the mean of all features
            is used.
        shrinkage: of the covariance towards a multiple of the identity, in [0, 1].
        weights: of the images, ``[images]``, > 0. None: equal weights.

    Returns:
        The weight ``[classes, width]`` and the bias ``[classes]`` of a linear layer. The scale of its logits is
        arbitrary.
    """
    weights = torch.full((len(features),), 1 / len(features)) if weights is None else weights / weights.sum()
    features, targets, weights = features.double(), targets.double(), weights.double()  # small differences matter
    shares = targets * weights[:, None]
    count = shares.sum(dim=0)
    centre = weights @ features
    means = torch.where(count[:, None] > 0, shares.T @ features / count.clamp(min=1e-12)[:, None], centre)
    # The scatter within the classes is the scatter of all features minus that of the class means.
    apart, means_apart = features - centre, means - centre
    covariance = (apart.T * weights) @ apart - (means_apart.T * count) @ means_apart
    level = covariance.diagonal().mean().clamp(min=1e-6)  # 0 if all images of each class are equal
    covariance = torch.lerp(covariance, level * torch.eye(len(covariance), dtype=level.dtype), shrinkage)
    weight = torch.linalg.solve(covariance, means.T).T
    bias = -(weight * means).sum(dim=1) / 2
    return (weight - weight.mean(dim=0)).float(), (bias - bias.mean()).float()


def _measure(
    model: Classifier,
    in_evaluation: Collection[nn.Module],
    kinds: Sequence[tuple[Tensor, Tensor]],
    seed: int,
    stop: Callable[[], bool],
) -> None:
    """Measure the statistics of batch norm again, with equally many images of each kind.

    `kinds` holds images and the indices of those to use. If `stop` returns True, only the batches so far count, at
    least one.
    """
    generator = torch.Generator().manual_seed(seed)
    count = min([len(chosen) for _, chosen in kinds] + [MOST_MEASURED])
    orders = [chosen[torch.randperm(len(chosen), generator=generator)][:count] for _, chosen in kinds]
    batches = zip(*(order.chunk(max(1, count // _BATCH)) for order in orders), strict=True)
    mixed = (
        torch.cat([kind[0][part] for kind, part in zip(kinds, parts, strict=True)])
        for number, parts in enumerate(batches)
        if number == 0 or not stop()
    )
    device = next(model.parameters()).device
    train_mode(model, in_evaluation)
    with seeded(seed, device):  # some networks draw random numbers in training mode
        measure_statistics(model.backbone, (normalise(images.to(device)) for images in mixed))


def _linear(model: Classifier) -> nn.Linear:
    head = model.heads[0]
    assert isinstance(head, nn.Linear)
    return head


def _features(model: Classifier, images: Tensor, chosen: Tensor, stop: Callable[[], bool] = lambda: False) -> Tensor:
    """Features in evaluation mode, float32 ``[chosen, width]`` on the CPU; if stopped, only those of the first batches.

    They are used on the CPU because a GPU adds up in no fixed order.
    """
    model.eval()
    device = next(model.parameters()).device
    found = []
    for part in chosen.split(_BATCH):
        found.append(model.backbone(normalise(images[part].to(device))).float().cpu())
        if stop():
            break
    return torch.cat(found)


def _some(indices: Tensor, most: int, seed: int) -> Tensor:
    """At most `most` of the indices: all of them in their order, or some in random order."""
    if len(indices) <= most:
        return indices
    return indices[torch.randperm(len(indices), generator=torch.Generator().manual_seed(seed))[:most]]


def _some_of_each(labels: Tensor, most: int, seed: int) -> Tensor:
    """Indices of at most `most` images of each class, in random order, int64."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    shuffled = labels[order]
    return torch.cat([order[shuffled == label][:most] for label in shuffled.unique()])
