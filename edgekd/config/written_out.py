"""Writing out the defaults that depend on other settings, so that later versions read a run's folder the same way."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekd.config.sections import Config
from edgekd.config.tables import overlay, read_toml

# The values in files of older runs, which leave these settings out. Newer runs write out all such defaults.
BEFORE: dict[str, dict[str, Any]] = {
    "data": {"public_augment": "none"},
    "model": {"head_start": "random", "head_end": "trained"},
    "train": {"norm_from": "private", "optimiser": "sgd", "freeze": 0.0},
}


def written_out(config: Config) -> Config:
    """The same settings, with values for all whose default depends on other settings."""
    data = config.data
    if data.private is None:  # otherwise the public file contains its augmentation
        data = replace(data, public_augment=data.public_augmentation)
    return replace(
        config,
        data=data,
        distill=replace(config.distill, kd_weight=config.kd_weight),
        model=replace(config.model, weights=config.weights, head_start=config.head_start, head_end=config.head_end),
        train=replace(
            config.train,
            steps=config.steps,
            batch=config.batch,
            public_batch=config.public_batch,
            optimiser=config.optimiser,
            lr=config.peak_lr,
            weight_decay=config.weight_decay,
            augment=config.augment,
            norm_from=config.norm_from,
            freeze=config.freeze,
        ),
    )


def read_run(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Read the tables of a run's ``config.toml``, completed by the defaults of the time when it was written.

    Raises:
        ConfigError: the file cannot be read or is not TOML.
    """
    tables = read_toml(path)
    own_files = "private" in tables.get("data", {})
    return overlay({name: table for name, table in BEFORE.items() if name != "data" or not own_files}, tables)
