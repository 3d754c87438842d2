"""The tables of a report as data: figure 2 in numbers, the scale grid, and what closes the gap."""

import dataclasses
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekd.config import BEFORE, Config, from_mapping
from edgekd.config.presets import find_preset
from edgekd.extensions import spelt
from edgekd.lab.findings.cells import (
    HEADS,
    SCALE,
    Key,
    by_kind,
    data_name,
    honest_twin,
    key,
    mean_accuracy,
    measure_order,
    seed_of,
    settings,
    split_label,
    varied_settings,
)
from edgekd.lab.findings.claims import Finding
from edgekd.lab.findings.panels import Panel, Point, families, panels, point, references
from edgekd.lab.findings.results import Baselines, Results
from edgekd.lab.findings.stats import Comparison, paired, ratio
from edgekd.lab.sweep.records import TOGETHER, Cell, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of ``tables.csv``; a field is empty if the table does not use it. Accuracies are fractions in [0, 1]."""

    table: str  # choice, figure2, baselines, scale, gap, poison, finding, noise or cost
    panel: str = ""
    data: str = ""
    split: str = ""
    combine: str = ""
    measure: str = ""
    alpha: float | None = None
    kd_scale: str = ""
    kd_weight: float | None = None
    label: str = ""
    n: int  # number of seeds
    mean: float | None = None  # accuracy over clients and seeds
    std_clients: float | None = None  # population standard deviation over the clients, averaged over the seeds
    std_error: float | None = None  # standard error of the mean over the seeds
    # Accuracy minus that of the table's first row (poison: the same without liars), paired by seed, with 95 % interval.
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    gap_closed: float | None = None  # fraction of the way from alone to pooled, with its 95 % interval
    gap_low: float | None = None
    gap_high: float | None = None
    megabytes: float | None = None  # predictions that a client sent, in 10^6 bytes
    # Of a finding's comparison, in the finding's unit, or of a choice, in accuracy; with its 95 % interval.
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    verdict: str = ""
    decides: bool | None = None  # whether the comparison takes part in the verdict of its finding
    sigma: float | None = None  # standard deviation of one cell's accuracy over seeds
    difference_error: float | None = None  # resulting standard error of a difference of two unpaired means over n seeds
    image_error: float | None = None  # binomial standard error of one accuracy
    time: float | None = None  # forward and backward, divided by the time of KL
    p: float | None = None  # of a choice, after Holm's correction


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that are shown together, with their baselines."""

    title: str
    rows: tuple[Row, ...]
    beside: Mapping[str, Point]  # name of a baseline -> its value


COLUMNS = tuple(f.name for f in dataclasses.fields(Row))


def panel_table(panel: Panel, data: str, baselines: Baselines) -> Table:
    """A panel of figure 2 as a table: measures by alpha."""
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


def scale_tables(together: Iterable[Outcome], baselines: Baselines) -> list[Table]:
    """Tables of measures by scale and weight of the distillation loss; all other settings of a table are equal."""
    apart: dict[Key, list[Outcome]] = defaultdict(list)
    for group in _scale_groups(together):
        apart[key(group[0].cell.config, "measure", "seed", "alpha", *SCALE, *HEADS)] += group
    groups = list(apart.values())
    titles = told_apart([group[0].cell.config for group in groups], _place, "measure", "alpha", *SCALE, *HEADS)
    tables = [_scale_table(title, group, baselines) for title, group in zip(titles, groups, strict=True)]
    return sorted(tables, key=lambda table: table.title)


def gap_tables(results: Results, *, paper: bool) -> list[Table]:
    """Tables of the configurations in each folder's own cells that appear in no other table.

    The other tables are those of liars (with the same cells without liars) and, with `paper`, figure 2 and scale grids.
    """
    tables = []
    twins = {key(honest_twin(outcome.cell).config, "seed") for outcome in results.poisoned}
    for folder, held in results.folders.items():
        own = [outcome for outcome in held if outcome.cell.kind == TOGETHER and not outcome.cell.config.exchange.liars]
        baselines = Baselines(results, folder)
        elsewhere = _in_paper_tables(own, baselines) if paper else set()
        groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
        for outcome in own:
            if outcome.cell.name not in elsewhere and key(outcome.cell.config, "seed") not in twins:
                groups[data_name(outcome.cell.config), split_label(outcome.cell.config)].append(outcome)
        for (data, split), cells in sorted(groups.items()):
            tables.append(_gap_table(f"{folder}: {data}, {split}", cells, baselines, _plain(paper)))
    return tables


def _in_paper_tables(own: Sequence[Outcome], baselines: Baselines) -> set[str]:
    """The names of the cells that are in a figure 2 or a scale grid."""
    figures = [panels(family, baselines) for family in families(own) if family.whole]
    found = {o.cell.name for figure in figures for panel in figure for o in panel.cells}
    return found | {o.cell.name for group in _scale_groups(own) for o in group}


def baseline_rows(tables: Iterable[Table]) -> list[Row]:
    """The baselines of the tables as rows, each only once."""
    found: dict[tuple[Any, ...], Row] = {}
    for table in tables:
        first = table.rows[0]
        for name, beside in table.beside.items():
            row = _row(beside, table="baselines", panel=f"{first.data}, {first.split}", label=name)
            row = dataclasses.replace(row, data=first.data, split=first.split)
            found.setdefault((row.data, row.split, name, beside), row)
    return list(found.values())


def finding_rows(findings: Iterable[Finding]) -> list[Row]:
    """The comparisons behind findings as rows, one row each."""
    return [
        Row(
            table="finding",
            panel=finding.id,
            label=part.name,
            n=part.found.n,
            difference=finite(part.found.effect),
            difference_low=finite(part.found.low),
            difference_high=finite(part.found.high),
            verdict=part.verdict,
            decides=part.decides,
        )
        for finding in findings
        for part in finding.parts
    ]


def finite(value: float) -> float | None:
    """The number, or None if it is NaN or infinite."""
    return value if math.isfinite(value) else None


def _row(of: Point, **named: Any) -> Row:
    return Row(n=of.n, mean=of.mean, std_clients=of.std, std_error=finite(of.error), **named)


def _scale_groups(together: Iterable[Outcome]) -> list[list[Outcome]]:
    """Groups of cells that differ only in measure, scale and weight; several measures have several of the other two."""
    groups: dict[Key, list[Outcome]] = defaultdict(list)
    for outcome in together:
        groups[key(outcome.cell.config, "measure", "seed", *SCALE)].append(outcome)
    found = []
    for group in groups.values():
        scales: dict[str, set[tuple[str, float | None]]] = defaultdict(set)
        for outcome in group:
            distill = outcome.cell.config.distill
            scales[spelt(distill.measure)].add((distill.kd_scale, distill.kd_weight))
        if sum(len(each) > 1 for each in scales.values()) > 1:
            found.append(group)
    return found


def _scale_table(title: str, group: Sequence[Outcome], baselines: Baselines) -> Table:
    rows = []
    for cells in by_kind(group).values():
        distill = cells[0].cell.config.distill
        named = {name: getattr(distill, name) for name in ("measure", "alpha", "combine", *SCALE)}
        rows.append(_row(point(cells), table="scale", panel=title, **named, **_where(cells[0].cell.config)))
    rows.sort(key=lambda r: (r.alpha or 0, measure_order(r.measure), r.kd_scale, r.kd_weight or 0))
    return Table(title, tuple(rows), references(group, baselines))


def _place(config: Config) -> str:
    return f"{data_name(config)}, {split_label(config)}, {config.distill.combine}"


def _where(config: Config) -> dict[str, Any]:
    return {"data": data_name(config), "split": split_label(config)}


def _gap_table(title: str, cells: Sequence[Outcome], baselines: Baselines, plain: Mapping[str, Any]) -> Table:
    kinds = list(by_kind(cells).values())
    varied = varied_settings([group[0].cell.config for group in kinds])
    kinds.sort(key=lambda group: _distance(group[0].cell.config, varied, plain))
    base = kinds[0]
    of_base = {seed_of(o): mean_accuracy(o) for o in base}
    rows = []
    for group in kinds:
        config = group[0].cell.config
        gain = paired({seed_of(o): mean_accuracy(o) for o in group}, of_base) if group is not base else None
        share = _gap_closed(group, baselines)
        named = {"measure": config.distill.measure, "combine": config.distill.combine, "alpha": config.distill.alpha}
        named |= {"label": _label(config, base[0].cell.config, varied), **_where(config)}
        named |= {**_interval("gain", gain), **_interval("gap", share), "megabytes": _sent(group)}
        rows.append(_row(point(group), table="gap", panel=title, **named))
    first, rest = rows[0], sorted(rows[1:], key=lambda row: (row.mean or 0, row.label))
    return Table(title, (first, *rest), references(base, baselines))


def _sent(group: Sequence[Outcome]) -> float:
    return statistics.fmean(peer.bytes_sent for outcome in group for peer in outcome.peers) / 1e6


def _gap_closed(group: Sequence[Outcome], baselines: Baselines) -> Comparison | None:
    """The mean of together - alone divided by the mean of pooled - alone, over the seeds that have all three."""
    parts, wholes = [], []
    for outcome in group:
        if both := baselines.both(outcome.cell.config):
            alone, pooled = map(mean_accuracy, both)
            parts.append(mean_accuracy(outcome) - alone)
            wholes.append(pooled - alone)
    return ratio(parts, wholes)


def _interval(name: str, found: Comparison | None) -> dict[str, Any]:
    value = {"gain": "gain", "gap": "gap_closed"}[name]
    if found is None or not found.n:
        return {value: None}
    return {value: found.effect, f"{name}_low": finite(found.low), f"{name}_high": finite(found.high)}


def told_apart(configs: Sequence[Config], name: Callable[[Config], str], *but: str) -> list[str]:
    """Names for configurations; if several have one name, the settings in which they differ are added, except `but`."""
    alike: dict[str, list[Config]] = defaultdict(list)
    for config in configs:
        alike[name(config)].append(config)
    names = []
    for config in configs:
        varied = [each for each in varied_settings(alike[name(config)]) if each not in but]
        said = "".join(f", {each} {settings(config)[each]}" for each in varied)
        names.append(name(config) + said)
    return names


def _plain(paper: bool) -> Mapping[str, Any]:
    """The settings with which gains are compared: the paper's plain distillation, or the project's defaults."""
    if not paper:
        return settings(Cell(TOGETHER, Config()).config)
    distill = {**find_preset("paper-text")["distill"], "two_phase": False}  # two_phase may be an ingredient
    return settings(Cell(TOGETHER, from_mapping({**BEFORE, "distill": distill})).config)


def _distance(config: Config, varied: Sequence[str], plain: Mapping[str, Any]) -> tuple[int, str]:
    """A sort key: the number of settings that differ from the plain ones, then the order of the names."""
    return sum(settings(config)[name] != plain[name] for name in varied), str(key(config, "seed"))


def _label(config: Config, base: Config, varied: Sequence[str]) -> str:
    """The settings that differ from the base; for the base itself, all settings that vary."""
    changed = [name for name in varied if config is base or settings(config)[name] != settings(base)[name]]
    said = ", ".join(f"{name} {settings(config)[name]}" for name in changed)
    return f"base ({said})" if config is base and said else said or "base"
