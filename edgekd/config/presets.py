"""Named settings, to start from: the paper's set-up as its text has it, and as the authors' script does it; and light.

"light" is for the smallest boxes. It holds nothing that a group must agree on, so one box of a group may have it.

What neither of the paper's can have here is in docs/experiments.md: above all, peers that move only predictions distil
on a public batch, where the script predicts on each client's private images with everybody's weights in one process.
"""

from typing import Any

from edgekd.errors import ConfigError
from edgekd.names import with_nearest

_PAPER: dict[str, dict[str, Any]] = {
    # gamma: the data set's default is the paper's
    "data": {"size": 224, "clients": 3, "eval_fraction": 0.1, "public_augment": "none"},
    "distill": {
        "alpha": 0.5,
        "temperature": 1.0,
        "temperature_scaling": False,
        "kd_weight": 1.0,
        "kd_warmup": 0,
        "sharpen": 1.0,
        "kd_scale": "raw",
        "balance": "off",
        "two_phase": True,
    },
    "model": {"model": "resnet18", "heads": 2, "head_layers": "512,256", "head_start": "random", "head_end": "trained"},
    "train": {
        "steps": 12_500,  # two phases of 50 epochs of CIFAR-10's shards; SUN397's take 22,700
        "batch": 128,
        "public_batch": 128,
        "optimiser": "sgd",
        "norm_from": "private",
        "freeze": 0.0,
        "lr": 0.001,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "constant",  # the script's cosine of 200 epochs is cut off at 50, where it has come down by 15 %
    },
}


def _with(**sections: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: {**table, **sections.get(name, {})} for name, table in _PAPER.items()}


LIGHT: dict[str, dict[str, Any]] = {"train": {"batch": 32, "freeze": 0.5}}  # measured in experiments/gap-screening.md

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "light": LIGHT,
    "paper-text": _with(distill={"combine": "average", "kd_reduction": "mean"}, train={"augment": "crop+flip"}),
    "paper-code": _with(distill={"combine": "geometric", "kd_reduction": "sum"}, train={"augment": "none"}),
}


def find_preset(name: str) -> dict[str, dict[str, Any]]:
    """The nested tables of a preset, as `edgekd.config.from_mapping` takes them.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(with_nearest(f"preset must be one of {', '.join(PRESETS)}, got {name}", name, PRESETS))
    return {section: dict(table) for section, table in PRESETS[name].items()}
