"""A network and a data set of one's own: how much three learners gain from one another, and a network to take away.

python own_network_and_data.py
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import edgekd


class Stripes(Dataset[tuple[Tensor, int]]):
    """Noisy stripes in one of four directions: images ``[3, 16, 16]``, floats in [0, 1], and their labels."""

    classes = ("across", "down", "falling", "rising")

    def __len__(self) -> int:
        return 1200

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        label, draw = index % 4, torch.Generator().manual_seed(index)  # an item is the same whenever it is asked for
        y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
        stripes = torch.sin((y, x, x - y, x + y)[label] * 1.5 + 6 * torch.rand(1, generator=draw))
        noisy = 0.5 + 0.2 * stripes + 0.15 * torch.randn(3, 16, 16, generator=draw)
        return noisy.clamp(0, 1), label


def make(classes: int) -> nn.Module:
    """A small network: from normalised images ``[N, 3, 16, 16]`` to logits ``[N, classes]``."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 4 * 4, classes))


def main() -> None:
    """Train alone, then together."""
    settings: dict[str, Any] = {"data": Stripes(), "model": make, "clients": 3, "gamma": 15.0, "steps": 120}
    settings |= {"augment": "none", "public_augment": "none"}  # a mirrored stripe that falls is one that rises
    alone = edgekd.simulate(
        edgekd.Config.of(**settings, alpha=1.0)
    )  # the labels' weight is 1: nobody learns from others
    together = edgekd.simulate(edgekd.Config.of(**settings))
    print(f"mean accuracy alone {alone.mean_accuracy:.3f}, together {together.mean_accuracy:.3f}")
    for id, curve in together.curves.items():
        print(f"learner {id}:", ", ".join(f"step {point.step} {point.overall:.3f}" for point in curve))
    print("learner 0 has", sum(weight.numel() for weight in together.models[0].parameters()), "weights to take away")


if __name__ == "__main__":
    main()
