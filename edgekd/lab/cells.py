"""Which of a sweep's cells belong together: those that are equal but for some settings, and the baselines of each."""

import dataclasses
import functools
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgekd.config import SECTIONS, Config
from edgekd.errors import ConfigError
from edgekd.lab.records import ALONE, GRID, POOLED, Cell, Outcome, read_outcomes
from edgekd.lab.stats import Scatter, scatter
from edgekd.measures import MEASURES
from edgekd.simulation import lone
from edgekd.splits import skew

Key = tuple[tuple[str, Any], ...]  # settings and their values, by name
Value = Callable[[Outcome], float]
Pairs = dict[Key, dict[int, float]]  # differences by kind (all settings but the seed and those compared), then seed

SPLIT = ("iid", "gamma", "dirichlet")
HEADS = ("heads", "head_layers", "two_phase")  # what alpha 0 needs to be other than elsewhere
AXES = ("measure", "alpha", "combine", "seed", *SPLIT)  # of figure 2
SCALE = ("kd_scale", "kd_weight")


def mean_accuracy(outcome: Outcome) -> float:
    """Over the clients."""
    return statistics.fmean(outcome.accuracies)


def client_std(outcome: Outcome) -> float:
    """Population standard deviation of the accuracy over the clients."""
    return statistics.pstdev(outcome.accuracies)


@functools.cache
def settings(config: Config) -> Mapping[str, Any]:
    """All settings of a cell by name."""
    found = {
        f.name: getattr(getattr(config, section), f.name) for section in SECTIONS for f in _fields(config, section)
    }
    return MappingProxyType(found)


def _fields(config: Config, section: str) -> "tuple[dataclasses.Field[Any], ...]":
    return dataclasses.fields(getattr(config, section))


def key(config: Config, *without: str) -> Key:
    """The settings, without some; equal for cells that differ in those alone."""
    return tuple(sorted((name, value) for name, value in settings(config).items() if name not in without))


def data_name(config: Config) -> str:
    """What the data set is called: of a folder its last part, without ``train``."""
    kind, _, path = config.data.data.partition(":")
    parts = [part for part in Path(path).parts if part not in ("train", "/")]
    return parts[-1] if parts else kind


def is_sun(config: Config) -> bool:
    """Whether the data are SUN scenes."""
    return "sun" in data_name(config).lower()


def split_label(config: Config) -> str:
    """``iid``, ``gamma 15`` or ``dirichlet 0.5``."""
    gamma = skew(config.data)
    if gamma is not None:
        return f"gamma {gamma:g}"
    return "iid" if config.data.dirichlet is None else f"dirichlet {config.data.dirichlet:g}"


def measure_order(name: str) -> tuple[int, str]:
    """Sorts measures as they are listed everywhere, one's own last."""
    known = list(MEASURES)
    return (known.index(name) if name in known else len(known)), name


def seed_of(outcome: Outcome) -> int:
    """What tells independent repetitions of a cell apart."""
    return outcome.cell.config.train.seed


@dataclass(frozen=True, slots=True)
class Results:
    """Finished cells, each once, in an order that does not depend on the files'."""

    grid: tuple[Outcome, ...]
    alone: tuple[Outcome, ...]
    pooled: tuple[Outcome, ...]
    folders: Mapping[str, frozenset[str]]  # the names of the grid's cells, by the folder's name


def read_results(folders: Sequence[Path]) -> Results:
    """The cells of all folders together; of a cell that several have, the first folder's.

    Raises:
        ConfigError: a folder is not there or holds no finished cell, or no cell of a grid is in any.
    """
    found: dict[str, Outcome] = {}
    names: dict[str, frozenset[str]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"there is no folder {folder}; name one that `edgekd sweep --out DIR` has filled")
        outcomes = read_outcomes(folder)
        if not outcomes:
            raise ConfigError(f"no finished cell is in {folder}; fill it with `edgekd sweep --out {folder}` first")
        for outcome in outcomes:
            found.setdefault(outcome.cell.name, outcome)
        name = folder.resolve().name if folder.resolve().name not in names else str(folder)
        names[name] = frozenset(o.cell.name for o in outcomes if o.cell.kind == GRID)
    ordered = [found[name] for name in sorted(found)]
    kinds = {kind: tuple(o for o in ordered if o.cell.kind == kind) for kind in (GRID, ALONE, POOLED)}
    if not kinds[GRID]:
        raise ConfigError("only baselines are in these folders; let `edgekd sweep` run cells with alpha below 1 too")
    return Results(kinds[GRID], kinds[ALONE], kinds[POOLED], names)


class Baselines:
    """Finds the lone and pooled runs that go with a cell: the same data, training, network and seed."""

    def __init__(self, results: Results) -> None:
        self._found = {outcome.cell: outcome for outcome in (*results.alone, *results.pooled)}

    def alone(self, config: Config, balance: str | None = None) -> Outcome | None:
        """The clients alone; with the cell's own balance unless told."""
        return self._found.get(Cell(ALONE, lone(config, balance=balance or config.distill.balance)))

    def pooled(self, config: Config) -> Outcome | None:
        """One model on all shards."""
        return self._found.get(Cell(POOLED, lone(config, balance="off")))

    def gap_closed(self, outcome: Outcome) -> float | None:
        """(together - alone) / (pooled - alone), alone and pooled without balance; None where there is no gap."""
        alone, pooled = self.alone(outcome.cell.config, "off"), self.pooled(outcome.cell.config)
        if alone is None or pooled is None or mean_accuracy(pooled) <= mean_accuracy(alone):
            return None
        lowest, highest = mean_accuracy(alone), mean_accuracy(pooled)
        return (mean_accuracy(outcome) - lowest) / (highest - lowest)


def by_kind(outcomes: Iterable[Outcome]) -> dict[Key, list[Outcome]]:
    """Cells that differ in nothing but the seed, by seed."""
    kinds: dict[Key, list[Outcome]] = defaultdict(list)
    for outcome in sorted(outcomes, key=seed_of):
        kinds[key(outcome.cell.config, "seed")].append(outcome)
    return kinds


def scatter_of(outcomes: Iterable[Outcome], value: Value) -> Scatter:
    """How a value scatters over the seeds of one and the same cell, pooled over the cells."""
    return scatter([[value(o) for o in group] for group in by_kind(outcomes).values()])


def contrasts(
    outcomes: Iterable[Outcome], setting: str, value: Value, formula: Callable[[dict[Any, float]], float]
) -> Pairs:
    """What `formula` makes of the values of cells that differ in one setting alone.

    Args:
        outcomes: cells of a grid.
        setting: the one under test.
        value: a cell's.
        formula: given the cells' values by that setting's, a number, or KeyError where it misses one.
    """
    alike: dict[tuple[Key, int], dict[Any, float]] = defaultdict(dict)
    for outcome in outcomes:
        config = outcome.cell.config
        alike[key(config, "seed", setting), seed_of(outcome)][settings(config)[setting]] = value(outcome)
    pairs: Pairs = defaultdict(dict)
    for (kind, seed), values in alike.items():
        try:
            pairs[kind][seed] = formula(values)
        except KeyError:
            continue
    return pairs


def gains(outcomes: Iterable[Outcome], baselines: Baselines) -> Pairs:
    """Mean accuracy less that of the same clients alone, with the same balance."""
    pairs: Pairs = defaultdict(dict)
    for outcome in outcomes:
        alone = baselines.alone(outcome.cell.config)
        if alone is not None:
            pairs[key(outcome.cell.config, "seed")][seed_of(outcome)] = mean_accuracy(outcome) - mean_accuracy(alone)
    return pairs
