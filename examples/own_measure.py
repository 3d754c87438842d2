"""Compare a measure of your own with two that edgekd has.

    python own_measure.py

Three learners train with each measure in turn. The program prints the value of each measure for one example, and the
accuracy that the learners reach.
"""

import torch
from torch import Tensor, nn

import edgekd


def hellinger(teacher: Tensor, logits: Tensor) -> Tensor:
    """The squared Hellinger distance, 1 - sum sqrt(p q), in [0, 1].

    Args:
        teacher: probabilities q, float ``[batch, classes]``.
        logits: of the student, already divided by the temperature, of the same shape; p = softmax(logits).

    Returns:
        ``[batch]``, one value for each sample.
    """
    log_p = torch.log_softmax(logits, dim=-1)
    log_q = teacher.clamp_min(1e-30).log()
    return 1 - torch.exp((log_p + log_q) / 2).sum(dim=-1)


def make(classes: int) -> nn.Module:
    """A small network, so that this takes seconds. Without `model=make` the network is a ResNet18."""
    features = [nn.Conv2d(3, 16, 5, stride=4), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*features, nn.Linear(16 * 7 * 7, classes))


def main() -> None:
    """Compare the measures."""
    teacher, logits = torch.tensor([[0.9, 0.1]]), torch.tensor([[2.0, -1.0]])
    for measure in ("kl", "sed", hellinger):
        name = measure if isinstance(measure, str) else measure.__name__
        value = edgekd.dissimilarity(measure, teacher, logits).item()
        config = edgekd.Config.of(
            data="digits", limit=900, clients=3, gamma=15.0, model=make, measure=measure, steps=60, eval_every=0
        )
        accuracy = edgekd.simulate(config).mean_accuracy
        print(f"{name}: value of the example {value:.4f}, mean accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
