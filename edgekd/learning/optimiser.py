"""The optimiser and its learning rate; the rate depends only on the step, so checkpoints do not hold it."""

import math

import torch
from torch import Tensor, nn

from edgekd.config import Config
from edgekd.errors import ConfigError

WARM_UP = 0.2  # fraction of the steps in which "onecycle" rises to its peak


def learning_rate(schedule: str, peak: float, step: int, steps: int) -> float:
    """The learning rate of one step.

    Args:
        schedule: "constant", "cosine" or "onecycle".
        peak: the largest learning rate.
        step: counted from 0.
        steps: the number of steps; 0: training has no end, and the rate is constant.
    """
    if schedule == "constant" or steps == 0:
        return peak
    done = min(1.0, step / steps)
    if schedule == "cosine":
        return peak * (1 + math.cos(math.pi * done)) / 2
    if done < WARM_UP:
        return peak * (step + 1) / (WARM_UP * steps + 1)
    return peak * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2


def make_optimiser(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Make the optimiser: SGD with momentum, or AdamW, both with weight decay. The caller sets the rate in each step.

    Source of AdamW: Loshchilov and Hutter 2019, Decoupled weight decay regularization.
    """
    momentum, decay = config.train.momentum, config.weight_decay
    if config.optimiser == "adamw":
        betas = (momentum, 0.999)
        return torch.optim.AdamW(model.parameters(), lr=0.0, betas=betas, weight_decay=decay, foreach=True)
    return torch.optim.SGD(model.parameters(), lr=0.0, momentum=momentum, weight_decay=decay, foreach=True)


# The values that an optimiser keeps for each weight: their names in a checkpoint, and in PyTorch's state.
_SGD = {"momentum": "momentum_buffer"}
_ADAMW = {"momentum": "exp_avg", "square": "exp_avg_sq", "updates": "step"}


def optimiser_state(optimiser: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimiser's values for each weight: ``momentum.NAME``; with AdamW also ``square.*`` and ``updates.*``."""
    kept = _kept(optimiser)
    return {
        f"{part}.{name}": optimiser.state[parameter][key]
        for name, parameter in model.named_parameters()
        for part, key in kept.items()
        if optimiser.state[parameter].get(key) is not None
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, model: nn.Module, state: dict[str, Tensor]) -> None:
    """Restore the values that `optimiser_state` returned.

    Raises:
        ConfigError: the state belongs to the other optimiser.
    """
    parts, kept = {name.partition(".")[0] for name in state} & {*_SGD, *_ADAMW}, _kept(optimiser)
    if parts and parts != set(kept):
        made_with = "adamw" if "square" in parts else "sgd"
        raise ConfigError(f"the checkpoint was made with --optimiser {made_with}: resume with it")
    for name, parameter in model.named_parameters():
        found = {key: state[f"{part}.{name}"] for part, key in kept.items() if f"{part}.{name}" in state}
        for key, value in found.items():
            like = parameter if value.shape == parameter.shape else value  # the number of updates is on the CPU
            optimiser.state[parameter][key] = torch.empty_like(like).copy_(value)


def _kept(optimiser: torch.optim.Optimizer) -> dict[str, str]:
    return _ADAMW if isinstance(optimiser, torch.optim.AdamW) else _SGD
