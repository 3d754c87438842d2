"""A report's tables as data: figure 2 in numbers, the scale grid, and what closes the gap."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekd.config import Config, DistillConfig
from edgekd.lab.cells import (
    SCALE,
    Baselines,
    Results,
    by_kind,
    data_name,
    key,
    mean_accuracy,
    measure_order,
    seed_of,
    settings,
    split_label,
)
from edgekd.lab.panels import Family, Panel, Point, point, references
from edgekd.lab.records import Outcome
from edgekd.lab.stats import Comparison, compare, paired

# The paper's plain distillation, in settings that are known to matter: what an ingredient is added to.
PLAIN = dataclasses.replace(DistillConfig(), balance="off", kd_weight=1.0, temperature=1.0, combine="average")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of ``tables.csv``. Accuracies are fractions in [0, 1]; empty is what a table does not speak of."""

    table: str  # figure2, baselines, scale or gap
    panel: str = ""
    data: str = ""
    split: str = ""
    combine: str = ""
    measure: str = ""
    alpha: float | None = None
    kd_scale: str = ""
    kd_weight: float | None = None
    label: str = ""
    n: int  # seeds
    mean: float | None = None  # accuracy over clients and seeds
    std_clients: float | None = None  # population standard deviation over the clients, averaged over the seeds
    std_error: float | None = None  # of the mean over the seeds
    gain: float | None = None  # accuracy over the table's first row, paired by seed, and its 95 % interval
    gain_low: float | None = None
    gain_high: float | None = None
    gap_closed: float | None = None  # share of the way from alone to pooled, by seed, and its 95 % interval
    gap_low: float | None = None
    gap_high: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that are shown together."""

    title: str
    rows: tuple[Row, ...]
    beside: Mapping[str, Point]  # the baselines by name


COLUMNS = tuple(f.name for f in dataclasses.fields(Row))


def panel_table(panel: Panel, data: str, baselines: Baselines) -> Table:
    """A panel of figure 2: measures by alpha."""
    title = f"{data}, {panel.title}"
    shared = {"table": "figure2", "panel": title, "data": data, "split": panel.split, "combine": panel.combine}
    rows = [
        _row(panel.points[measure, alpha], **shared, measure=measure, alpha=alpha)
        for measure in panel.measures
        for alpha in panel.alphas
        if (measure, alpha) in panel.points
    ]
    if panel.alone:
        rows.append(_row(panel.alone, **shared, measure="alone", alpha=1.0))
    return Table(title, tuple(rows), references(panel.cells, baselines))


def scale_tables(grid: Iterable[Outcome], baselines: Baselines) -> list[Table]:
    """Measures by scale and weight of the distillation, at otherwise the same settings."""
    tables = []
    for title, groups in _scale_groups(grid).items():
        rows = []
        for group in groups:
            for cells in by_kind(group).values():
                distill = cells[0].cell.config.distill
                named = {name: getattr(distill, name) for name in ("measure", "alpha", "combine", *SCALE)}
                where = {"data": data_name(cells[0].cell.config), "split": split_label(cells[0].cell.config)}
                rows.append(_row(point(cells), table="scale", panel=title, **named, **where))
        rows.sort(key=lambda r: (r.alpha or 0, measure_order(r.measure), r.kd_scale, r.kd_weight or 0))
        tables.append(Table(title, tuple(rows), references((o for group in groups for o in group), baselines)))
    return sorted(tables, key=lambda table: table.title)


def gap_tables(results: Results, families: Sequence[Family], baselines: Baselines) -> list[Table]:
    """For each folder the configurations that belong to neither figure 2 nor a scale grid, and what each has gained."""
    elsewhere = {o.cell.name for family in families if family.whole for o in family.cells}
    elsewhere |= {o.cell.name for groups in _scale_groups(results.grid).values() for group in groups for o in group}
    tables = []
    for folder, names in results.folders.items():
        groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
        for outcome in results.grid:
            if outcome.cell.name in names - elsewhere:
                groups[data_name(outcome.cell.config), split_label(outcome.cell.config)].append(outcome)
        for (data, split), cells in sorted(groups.items()):
            tables.append(_gap_table(f"{folder}: {data}, {split}", cells, baselines))
    return tables


def baseline_rows(tables: Iterable[Table]) -> list[Row]:
    """The baselines beside the tables, each once."""
    found: dict[tuple[Any, ...], Row] = {}
    for table in tables:
        first = table.rows[0]
        for name, beside in table.beside.items():
            row = _row(beside, table="baselines", panel=f"{first.data}, {first.split}", label=name)
            row = dataclasses.replace(row, data=first.data, split=first.split)
            found.setdefault((row.data, row.split, name, beside), row)
    return list(found.values())


def _row(of: Point, **named: Any) -> Row:
    return Row(n=of.n, mean=of.mean, std_clients=of.std, std_error=_finite(of.error), **named)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _scale_groups(grid: Iterable[Outcome]) -> dict[str, list[list[Outcome]]]:
    """By title, groups of cells that differ in measure, scale and weight alone, where there are several of each."""
    groups: dict[Any, list[Outcome]] = defaultdict(list)
    for outcome in grid:
        groups[key(outcome.cell.config, "measure", "seed", *SCALE)].append(outcome)
    found: dict[str, list[list[Outcome]]] = defaultdict(list)
    for group in groups.values():
        distills = [outcome.cell.config.distill for outcome in group]
        if len({d.measure for d in distills}) > 1 and len({(d.kd_scale, d.kd_weight) for d in distills}) > 1:
            config = group[0].cell.config
            found[f"{data_name(config)}, {split_label(config)}, {config.distill.combine}"].append(group)
    return found


def _gap_table(title: str, cells: Sequence[Outcome], baselines: Baselines) -> Table:
    kinds = list(by_kind(cells).values())
    varied = _varied([group[0].cell.config for group in kinds])
    kinds.sort(key=lambda group: _distance(group[0].cell.config, varied))
    base = kinds[0]
    of_base = {seed_of(o): mean_accuracy(o) for o in base}
    rows = []
    for group in kinds:
        config = group[0].cell.config
        gain = paired({seed_of(o): mean_accuracy(o) for o in group}, of_base) if group is not base else None
        shares = compare([share for o in group if (share := baselines.gap_closed(o)) is not None])
        named = {"measure": config.distill.measure, "combine": config.distill.combine, "alpha": config.distill.alpha}
        row = _row(point(group), table="gap", panel=title, label=_label(config, base[0].cell.config, varied), **named)
        where = {"data": data_name(config), "split": split_label(config)}
        rows.append(dataclasses.replace(row, **where, **_interval("gain", gain), **_interval("gap", shares)))
    first, rest = rows[0], sorted(rows[1:], key=lambda row: row.mean or 0)
    return Table(title, (first, *rest), references(base, baselines))


def _interval(name: str, found: Comparison | None) -> dict[str, float | None]:
    value = {"gain": "gain", "gap": "gap_closed"}[name]
    if found is None or not found.n:
        return {value: None}
    return {value: found.effect, f"{name}_low": _finite(found.low), f"{name}_high": _finite(found.high)}


def _varied(configs: Sequence[Config]) -> list[str]:
    """The settings in which some differ."""
    return [name for name in settings(configs[0]) if name != "seed" and len({settings(c)[name] for c in configs}) > 1]


def _distance(config: Config, varied: Sequence[str]) -> tuple[int, str]:
    """In how many settings it is not the paper's plain distillation; among equals the order of their names."""
    plain = settings(dataclasses.replace(Config(), distill=PLAIN))
    return sum(settings(config)[name] != plain[name] for name in varied), str(key(config, "seed"))


def _label(config: Config, base: Config, varied: Sequence[str]) -> str:
    """What is other than in the base; of the base itself all that varies."""
    changed = [name for name in varied if config is base or settings(config)[name] != settings(base)[name]]
    said = ", ".join(f"{name} {settings(config)[name]}" for name in changed)
    return f"base ({said})" if config is base and said else said or "base"
