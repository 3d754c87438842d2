"""SGD and its learning rate. The rate is a pure function of the step, so a checkpoint need not hold it."""

import math

import torch
from torch import nn

from edgekd.config import TrainConfig

WARM_UP = 0.2  # the fraction of the steps in which "onecycle" rises to its peak


def learning_rate(config: TrainConfig, peak: float, step: int) -> float:
    """The learning rate of `step`, counted from 0; at most `peak`. A run without end has a constant rate."""
    if config.schedule == "constant" or config.steps == 0:
        return peak
    done = min(1.0, step / config.steps)
    if config.schedule == "cosine":
        return peak * (1 + math.cos(math.pi * done)) / 2
    if done < WARM_UP:
        return peak * (step + 1) / (WARM_UP * config.steps + 1)
    return peak * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2


def make_optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    """SGD with momentum and weight decay. The caller sets the learning rate before each step."""
    return torch.optim.SGD(
        model.parameters(), lr=0.0, momentum=config.momentum, weight_decay=config.weight_decay, foreach=True
    )
