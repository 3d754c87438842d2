"""Train a network of your own on a data set of your own.

    python own_network_and_data.py

Three learners train, first alone and then together. The program prints how much they gain, and how their accuracy
rises.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import edgekd


class Stripes(Dataset[tuple[Tensor, int]]):
    """Noisy stripes in one of four directions: images ``[3, 16, 16]``, floats in [0, 1], and their labels."""

    classes = ("horizontal", "vertical", "falling", "rising")

    def __len__(self) -> int:
        return 1200

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        label = index % 4
        generator = torch.Generator().manual_seed(index)  # so each image is the same each time
        y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
        across = (y, x, x - y, x + y)[label]
        stripes = torch.sin(1.5 * across + 6 * torch.rand(1, generator=generator))
        noise = torch.randn(3, 16, 16, generator=generator)
        return (0.5 + 0.2 * stripes + 0.15 * noise).clamp(0, 1), label


def make(classes: int) -> nn.Module:
    """A small network: from normalised images ``[N, 3, 16, 16]`` to logits ``[N, classes]``."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 4 * 4, classes))


def main() -> None:
    """Train alone, then together."""
    settings: dict[str, Any] = {"data": Stripes(), "model": make, "clients": 3, "gamma": 15.0, "steps": 120}
    # A flip would turn a falling stripe into a rising one.
    settings |= {"augment": "none", "public_augment": "none"}

    alone = edgekd.simulate(edgekd.Config.of(**settings, alpha=1.0))  # alpha is the weight of the labels
    together = edgekd.simulate(edgekd.Config.of(**settings))

    print(f"mean accuracy alone {alone.mean_accuracy:.3f}, together {together.mean_accuracy:.3f}")
    for id, curve in together.curves.items():
        print(f"learner {id}:", ", ".join(f"step {point.step} {point.overall:.3f}" for point in curve))
    network = together.models[0]  # a torch.nn.Module
    print(f"the network of learner 0 has {sum(weight.numel() for weight in network.parameters())} weights")


if __name__ == "__main__":
    main()
