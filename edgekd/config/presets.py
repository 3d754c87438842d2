"""Presets, that is named settings to start from: "paper-text", "paper-code" and "light".

The first two are the paper's set-up, as its text describes it and as the authors' script does it. docs/experiments.md
lists what differs here. Above all, peers exchange only predictions and distil on a public batch, while the script has
all networks in one process and predicts on each client's private images.

"light" is for the smallest boxes. It contains no setting on which a group must agree, so a single box may use it.
"""

from typing import Any

from edgekd.errors import ConfigError
from edgekd.names import with_nearest

_PAPER: dict[str, dict[str, Any]] = {
    # gamma is not here: the default for each data set is the paper's value
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
        "steps": 12_500,  # two phases of 50 epochs each on the shards of CIFAR-10; those of SUN397 need 22,700
        "batch": 128,
        "public_batch": 128,
        "optimiser": "sgd",
        "norm_from": "private",
        "freeze": 0.0,
        "lr": 0.001,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "constant",  # the script has a cosine over 200 epochs but stops at 50, when it has fallen by 15 %
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
    """The nested tables of a preset, for `edgekd.config.from_mapping`.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(with_nearest(f"preset must be one of {', '.join(PRESETS)}, got {name}", name, PRESETS))
    return {section: dict(table) for section, table in PRESETS[name].items()}
