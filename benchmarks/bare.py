"""A minimal training script, with which `footprint.py` compares a peer: random images, no edgekd, no connections.

    python benchmarks/bare.py MODEL SIZE BATCH

It prints the number of each step after the step, until it is stopped.
"""

import itertools
import sys

import torch
import torchvision
from torch import nn


def main() -> None:
    name, size, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    network = torchvision.models.get_model(name, weights=None, num_classes=10).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, foreach=True)
    images = torch.rand(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 10
    for step in itertools.count(1):
        nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        print(step, flush=True)


if __name__ == "__main__":
    main()
