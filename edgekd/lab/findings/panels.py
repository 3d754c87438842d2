"""The cells of figure 2: accuracy against alpha for each measure, with a panel for each split and combination."""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgekd.config import Config
from edgekd.extensions import spelt
from edgekd.lab.findings.cells import (
    AXES,
    HEADS,
    Key,
    client_std,
    data_name,
    is_sun,
    key,
    mean_accuracy,
    measure_order,
    seed_of,
    split_label,
)
from edgekd.lab.findings.results import Baselines
from edgekd.lab.sweep.records import Outcome
from edgekd.names import COMBINATION_NAMES


@dataclass(frozen=True, slots=True)
class Point:
    """The mean over cells that differ only in the seed. Accuracies are fractions in [0, 1]."""

    mean: float  # over clients and seeds
    std: float  # population standard deviation over the clients, averaged over the seeds
    error: float  # standard error of the mean over the seeds; NaN if there is only one
    n: int  # number of seeds


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot of figure 2."""

    split: str
    combine: str
    cells: tuple[Outcome, ...]
    points: dict[tuple[str, float], Point]  # by measure and alpha
    alone: Point | None  # the value of all measures at alpha 1

    @property
    def title(self) -> str:
        """The title: the split and the combination."""
        return f"{self.split}, {self.combine}"

    @property
    def measures(self) -> list[str]:
        """The measures that have points."""
        return sorted({measure for measure, _ in self.points}, key=measure_order)

    @property
    def alphas(self) -> list[float]:
        """The values of alpha that have points, and 1 if there is a baseline."""
        return sorted({alpha for _, alpha in self.points} | ({1.0} if self.alone else set()))

    @property
    def has_lines(self) -> bool:
        """Whether a measure has points at more than one alpha."""
        return len(self.points) > len(self.measures)


@dataclass(frozen=True, slots=True)
class Family:
    """Cells that are equal except for the axes of figure 2 and, at alpha 0, for the heads."""

    data: str
    sun: bool
    cells: tuple[Outcome, ...]

    @property
    def config(self) -> Config:
        """The settings of one of its cells, with alpha above 0 if there is one."""
        return next((o for o in self.cells if _alpha(o)), self.cells[0]).cell.config

    @property
    def whole(self) -> bool:
        """Whether several measures have several values of alpha each, as in figure 2."""
        alphas: dict[str, set[float]] = defaultdict(set)
        for outcome in self.cells:
            alphas[spelt(outcome.cell.config.distill.measure)].add(_alpha(outcome))
        return sum(len(each) > 1 for each in alphas.values()) > 1


def point(outcomes: Sequence[Outcome]) -> Point:
    """The mean over cells that differ only in the seed."""
    means = [mean_accuracy(outcome) for outcome in outcomes]
    n = len(means)
    error = statistics.stdev(means) / math.sqrt(n) if n > 1 else math.nan
    return Point(statistics.fmean(means), statistics.fmean(map(client_std, outcomes)), error, n)


def families(together: Iterable[Outcome]) -> list[Family]:
    """Group the cells into families: whole ones first, then those with most cells; those of SUN scenes come last."""
    apart = _grouped(together, lambda o: (_alpha(o) == 0, key(o.cell.config, *AXES)))
    zeros = {k: group for (zero, k), group in apart.items() if zero}
    others = {k: group for (zero, k), group in apart.items() if not zero}
    joined = {k: _zeros_of(k, zeros) for k in others}
    found = [[*group, *zeros.get(joined[k] or (), [])] for k, group in others.items()]
    found += [group for k, group in zeros.items() if k not in joined.values()]
    return sorted((_family(group) for group in found), key=_rank)


def _zeros_of(k: Key, zeros: Mapping[Key, Sequence[Outcome]]) -> Key | None:
    """Find the cells at alpha 0 that belong to other cells: those with the same heads, else the largest group."""
    fitting = [zero for zero in zeros if _without_heads(zero) == _without_heads(k)]
    return min(fitting, key=lambda zero: (zero != k, -len(zeros[zero]), str(zero)), default=None)


def main_families(found: Sequence[Family]) -> list[Family]:
    """The family of each data set from which findings are drawn: a whole one if possible, then one with most cells."""
    first: dict[str, Family] = {}
    for family in sorted(found, key=lambda f: not f.whole):  # sorting is stable
        first.setdefault(family.data, family)
    return sorted(first.values(), key=_rank)


def panels(family: Family, baselines: Baselines) -> list[Panel]:
    """Make a panel for each split (iid first) and combination (sum first).

    If some panels have lines, those without lines are left out: one point for each measure is not a figure.
    """
    groups = _grouped(family.cells, lambda o: (split_label(o.cell.config), o.cell.config.distill.combine))
    ranked = sorted(groups, key=_panel_rank)
    found = [_panel(split, combine, groups[split, combine], baselines) for split, combine in ranked]
    return [panel for panel in found if panel.has_lines] or found


def references(outcomes: Iterable[Outcome], baselines: Baselines) -> dict[str, Point]:
    """The baselines of some cells, as far as they exist: alone, alone balanced and pooled."""
    configs = [outcome.cell.config for outcome in outcomes]
    found = {
        "alone": [baselines.alone(config, "off") for config in configs],
        "alone, balanced": [baselines.alone(config, "on") for config in configs],
        "pooled": [baselines.pooled(config) for config in configs],
    }
    return {name: point(each) for name, group in found.items() if (each := _distinct(group))}


def _panel(split: str, combine: str, cells: list[Outcome], baselines: Baselines) -> Panel:
    points = _grouped(cells, lambda o: (o.cell.config.distill.measure, _alpha(o)))
    alone = _distinct([baselines.alone(o.cell.config) for o in cells])
    return Panel(
        split=split,
        combine=combine,
        cells=tuple(cells),
        points={name: point(group) for name, group in points.items()},
        alone=point(alone) if alone else None,
    )


def _family(group: list[Outcome]) -> Family:
    config = group[0].cell.config
    return Family(data_name(config), is_sun(config), tuple(group))


def _rank(family: Family) -> tuple[bool, bool, int, str]:
    first = min(str(key(outcome.cell.config)) for outcome in family.cells)
    return family.sun, not family.whole, -len(family.cells), first


def _panel_rank(name: tuple[str, str]) -> tuple[bool, str, int, str]:
    split, combine = name
    known = COMBINATION_NAMES.index(combine) if combine in COMBINATION_NAMES else len(COMBINATION_NAMES)
    return split != "iid", split, known, combine


def _without_heads(k: Key) -> Key:
    return tuple(item for item in k if item[0] not in HEADS)


def _alpha(outcome: Outcome) -> float:
    return outcome.cell.config.distill.alpha


def _distinct(outcomes: Iterable[Outcome | None]) -> list[Outcome]:
    by_name = {outcome.cell.name: outcome for outcome in outcomes if outcome is not None}
    return sorted(by_name.values(), key=lambda o: (seed_of(o), o.cell.name))


def _grouped(outcomes: Iterable[Outcome], of: Callable[[Outcome], tuple]) -> dict[tuple, list[Outcome]]:  # type: ignore[type-arg]
    groups: dict[tuple, list[Outcome]] = defaultdict(list)  # type: ignore[type-arg]
    for outcome in outcomes:
        groups[of(outcome)].append(outcome)
    return groups
