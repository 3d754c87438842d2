"""A measure of one's own, beside two that edgekd has: which of them the learners gain most by.

python own_measure.py
"""

import torch
from torch import Tensor, nn

import edgekd


def hellinger(teacher: Tensor, logits: Tensor) -> Tensor:
    """1 - sum sqrt(p q): the squared Hellinger distance, in [0, 1].

    Args:
        teacher: probabilities q, float ``[batch, classes]``.
        logits: the student's, already divided by the temperature, of the same shape; p is their softmax.

    Returns:
        ``[batch]``, one value a sample.
    """
    log_p = torch.log_softmax(logits, dim=-1)
    return 1 - torch.exp((log_p + teacher.clamp_min(1e-30).log()) / 2).sum(dim=-1)


def make(classes: int) -> nn.Module:
    """A small network, so that this takes seconds; leave `model` out for a ResNet18."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=4), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(784, classes)
    )


def main() -> None:
    """Compare the measures."""
    teacher, logits = torch.tensor([[0.9, 0.1]]), torch.tensor([[2.0, -1.0]])
    for measure in ("kl", "sed", hellinger):
        name = measure if isinstance(measure, str) else measure.__name__
        value = float(edgekd.dissimilarity(measure, teacher, logits))
        config = edgekd.Config.of(
            data="digits", clients=3, gamma=15.0, limit=900, model=make, measure=measure, steps=60, eval_every=0
        )
        reached = edgekd.simulate(config)
        print(f"{name}: dissimilarity of an example {value:.4f}; mean accuracy {reached.mean_accuracy:.3f}")


if __name__ == "__main__":
    main()
