"""Names and values of finished cells, and which cells are equal except for some settings."""

import dataclasses
import functools
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgekd.config import SECTIONS, Config
from edgekd.data.splits import skew
from edgekd.extensions import spelt
from edgekd.lab.sweep.records import Cell, Outcome
from edgekd.names import MEASURE_NAMES

Key = tuple[tuple[str, Any], ...]  # (setting, value), sorted by name
Value = Callable[[Outcome], float]

SPLIT = ("iid", "gamma", "dirichlet")
HEADS = ("heads", "head_layers", "head_end", "two_phase")  # may differ at alpha 0, which needs several heads
AXES = ("measure", "alpha", "combine", "seed", *SPLIT)  # the settings that vary within figure 2
SCALE = ("kd_scale", "kd_weight")


def mean_accuracy(outcome: Outcome) -> float:
    """The mean accuracy of the honest clients."""
    return statistics.fmean(outcome.accuracies)


def client_std(outcome: Outcome) -> float:
    """The population standard deviation of the accuracy over the honest clients."""
    return statistics.pstdev(outcome.accuracies)


@functools.cache
def settings(config: Config) -> Mapping[str, Any]:
    """All settings of a cell by their names."""
    found = {
        f.name: getattr(getattr(config, section), f.name) for section in SECTIONS for f in _fields(config, section)
    }
    return MappingProxyType(found)


def _fields(config: Config, section: str) -> "tuple[dataclasses.Field[Any], ...]":
    return dataclasses.fields(getattr(config, section))


def key(config: Config, *without: str) -> Key:
    """All settings except some; it is equal for cells that differ only in these."""
    return tuple(sorted((name, value) for name, value in settings(config).items() if name not in without))


def varied_settings(configs: Sequence[Config], *, seed: bool = False) -> list[str]:
    """The settings that are not the same in all cells; the seed only if `seed` is set."""
    names = settings(configs[0]) if configs else ()
    return [name for name in names if (seed or name != "seed") and len({settings(c)[name] for c in configs}) > 1]


def honest_twin(cell: Cell) -> Cell:
    """The same cell without liars."""
    exchange = dataclasses.replace(cell.config.exchange, liars=None, lie=None, lie_from=None)
    return Cell(cell.kind, dataclasses.replace(cell.config, exchange=exchange))


def data_name(config: Config) -> str:
    """What the data set is called: of a folder its last part, without ``train``."""
    kind, _, path = spelt(config.data.data).partition(":")
    parts = [part for part in Path(path).parts if part not in ("train", "/")]
    return parts[-1] if parts else kind


def is_sun(config: Config) -> bool:
    """Whether the data are SUN scenes: a folder named sun, with or without a number, such as ``sun397``."""
    return re.fullmatch(r"sun\d*", data_name(config).lower()) is not None


def split_label(config: Config) -> str:
    """The name of the split: ``iid``, ``gamma 15`` or ``dirichlet 0.5``."""
    gamma = skew(config.data)
    if gamma is not None:
        return f"gamma {gamma:g}"
    return "iid" if config.data.dirichlet is None else f"dirichlet {config.data.dirichlet:g}"


def measure_order(name: str) -> tuple[int, str]:
    """A sort key for measures: in their usual order, the user's own ones last."""
    known = MEASURE_NAMES
    return (known.index(name) if name in known else len(known)), name


def seed_of(outcome: Outcome) -> int:
    """The seed of a cell, which distinguishes independent repetitions."""
    return outcome.cell.config.train.seed


def by_kind(outcomes: Iterable[Outcome]) -> dict[Key, list[Outcome]]:
    """Group the cells that differ only in the seed; each group is sorted by seed."""
    kinds: dict[Key, list[Outcome]] = defaultdict(list)
    for outcome in sorted(outcomes, key=seed_of):
        kinds[key(outcome.cell.config, "seed")].append(outcome)
    return kinds
