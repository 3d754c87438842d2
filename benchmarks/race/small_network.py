"""A small network, with which many nodes fit on one machine: `--model small_network.py:network`."""

from torch import nn


def network(classes: int) -> nn.Module:
    """Two convolutions and a linear layer, some 11,000 weights; images of 32 pixels."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(32 * 16, classes),
    )
