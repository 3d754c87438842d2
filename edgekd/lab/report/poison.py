"""Tables on how well measures and combinations resist lying neighbours: a row for each of them, a column for each lie.

The same honest clients are compared, with and without liars among their neighbours. A part of the difference is what a
liar's shard would have taught them.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgekd.config import Config
from edgekd.lab.findings.cells import (
    Key,
    data_name,
    honest_twin,
    key,
    mean_accuracy,
    measure_order,
    seed_of,
    settings,
    split_label,
)
from edgekd.lab.findings.panels import Point, point
from edgekd.lab.findings.results import Baselines, Results
from edgekd.lab.findings.stats import paired
from edgekd.lab.report.tables import Row, Table, finite, told_apart
from edgekd.lab.sweep.records import Cell, Outcome
from edgekd.names import COMBINATION_NAMES

VARIED = ("measure", "combine", "lie", "seed")  # within a table
NO_LIARS = "no liars"


def poison_tables(results: Results, baselines: Baselines) -> list[Table]:
    """A table for each group and number of liars, with the same cells without liars if these exist."""
    groups: dict[Key, list[Outcome]] = defaultdict(list)
    for outcome in results.poisoned:
        groups[key(outcome.cell.config, *VARIED)].append(outcome)
    twins = {outcome.cell: outcome for outcome in results.together}
    titles = told_apart([group[0].cell.config for group in groups.values()], _title, *VARIED)
    tables = [_table(title, group, twins, baselines) for title, group in zip(titles, groups.values(), strict=True)]
    return sorted(tables, key=lambda table: table.title)


def _table(title: str, poisoned: Sequence[Outcome], twins: Mapping[Cell, Outcome], baselines: Baselines) -> Table:
    config = poisoned[0].cell.config
    honest = range(config.data.clients - (config.exchange.liars or 0))
    rows = []
    for (measure, combine), cells in _by(poisoned, "measure", "combine").items():
        shared: dict[str, Any] = {"table": "poison", "panel": title, "measure": measure, "combine": combine}
        shared |= {"data": data_name(config), "split": split_label(config), "alpha": config.distill.alpha}
        without = _distinct(_only(twins[twin], honest) for o in cells if (twin := honest_twin(o.cell)) in twins)
        if without:
            rows.append(_row(point(without), **shared, label=NO_LIARS))
        before = {seed_of(o): mean_accuracy(o) for o in without}
        for (lie,), lied in _by(cells, "lie").items():
            change = paired({seed_of(o): mean_accuracy(o) for o in lied}, before)
            numbers = {"gain": change.effect, "gain_low": change.low, "gain_high": change.high}
            rows.append(_row(point(lied), **shared, label=lie, **{k: finite(v) for k, v in numbers.items()}))
    rows.sort(key=lambda row: (measure_order(row.measure), _combination_order(row.combine)))  # stable
    return Table(title, tuple(rows), _alone(poisoned, honest, baselines))


def _alone(outcomes: Iterable[Outcome], honest: Iterable[int], baselines: Baselines) -> dict[str, Point]:
    """The honest clients, each without neighbours."""
    configs = [outcome.cell.config for outcome in outcomes]
    found = {
        "alone": [baselines.alone(config, "off") for config in configs],
        "alone, balanced": [baselines.alone(config, "on") for config in configs],
    }
    some = {name: _distinct(_only(o, honest) for o in each if o) for name, each in found.items()}
    return {name: point(each) for name, each in some.items() if each}


def _only(outcome: Outcome, clients: Iterable[int]) -> Outcome:
    """The same cell with only these `clients`."""
    wanted = set(clients)
    return dataclasses.replace(outcome, peers=tuple(peer for peer in outcome.peers if peer.id in wanted))


def _distinct(outcomes: Iterable[Outcome]) -> list[Outcome]:
    return sorted({outcome.cell.name: outcome for outcome in outcomes}.values(), key=seed_of)


def _by(outcomes: Iterable[Outcome], *names: str) -> dict[tuple[str, ...], list[Outcome]]:
    groups: dict[tuple[str, ...], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[tuple(str(settings(outcome.cell.config)[name]) for name in names)].append(outcome)
    return groups


def _row(of: Point, **named: Any) -> Row:
    return Row(n=of.n, mean=of.mean, std_clients=of.std, std_error=finite(of.error), **named)


def _title(config: Config) -> str:
    liars, heard = config.exchange.liars or 0, config.data.clients - 1
    return f"{data_name(config)}, {split_label(config)}: {liars} of {heard} neighbours lie"


def _combination_order(name: str) -> int:
    return COMBINATION_NAMES.index(name) if name in COMBINATION_NAMES else len(COMBINATION_NAMES)
