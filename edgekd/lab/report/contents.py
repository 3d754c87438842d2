"""The content of a report, section by section."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.lab.findings.asked import Choices, value_order
from edgekd.lab.findings.cells import AXES, data_name, seed_of, settings
from edgekd.lab.findings.claims import Finding
from edgekd.lab.findings.cost import Ratios
from edgekd.lab.findings.panels import Family, Panel
from edgekd.lab.findings.results import Results
from edgekd.lab.report import prose
from edgekd.lab.report.choosing import choosing_blocks
from edgekd.lab.report.document import Block, Grid, Heading, Picture, Text
from edgekd.lab.report.figures import inline_svg, limits, measures_of, style
from edgekd.lab.report.layout import (
    cost_grid,
    finding_blocks,
    findings_grid,
    gap_grid,
    number_text,
    panel_grid,
    poison_grid,
    scale_grid,
)
from edgekd.lab.report.tables import Row, Table
from edgekd.lab.sweep.records import TOGETHER, Outcome


@dataclass(frozen=True, slots=True)
class Figure:
    """One version of figure 2, with its tables."""

    file: str  # the name of its file without suffix
    title: str
    family: Family
    panels: tuple[Panel, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True)
class Paper:
    """What the cells say about the paper's claims."""

    findings: tuple[Finding, ...]
    control: Finding
    figures: tuple[Figure, ...]
    scale: tuple[Table, ...]
    noise: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that a report needs."""

    results: Results
    choices: Choices
    gap: tuple[Table, ...]
    poison: tuple[Table, ...]
    ratios: Ratios
    paper: Paper | None  # None unless it is asked for


def report_blocks(material: Material) -> list[Block]:
    """Make the whole report."""
    paper = material.paper
    return [
        *_opening(material),
        *choosing_blocks(material.choices),
        *(_findings(paper) if paper else []),
        *_gap(material.gap, paper),
        *_poison(material.poison),
        *_cost(material.ratios),
        *(_each_finding(paper) if paper else []),
        *_what_was_run(material),
    ]


def _opening(material: Material) -> list[Block]:
    results = material.results
    liars = f" and {len(results.poisoned)} with liars" if results.poisoned else ""
    counts = (
        f"{len(results.together)} cells{liars}, {len(results.alone)} lone and {len(results.pooled)} pooled baselines"
    )
    folders = ", ".join(f"`{name}`" for name in results.folders)
    return [Heading(1, prose.TITLE), Text((prose.OPENING.format(counts=counts, folders=folders),))]


def _findings(paper: Paper) -> list[Block]:
    return [
        Heading(2, "The paper's findings"),
        Text((prose.PAPER,)),
        findings_grid([*paper.findings, paper.control]),
        Text(prose.HOW_TO_READ),
        Heading(2, "Accuracy against alpha"),
        *(block for figure in paper.figures for block in _figure(figure)),
        *_noise(paper),
        *_scale(paper.scale),
    ]


def _each_finding(paper: Paper) -> list[Block]:
    return [Heading(2, "Each finding"), *(block for finding in paper.findings for block in _finding(finding))]


def _figure(figure: Figure) -> list[Block]:
    measures = measures_of(figure.panels)
    ranges = {p.split: limits([each for each in figure.panels if each.split == p.split]) for p in figure.panels}
    picture = Picture(
        file=figure.file,
        alt=f"Accuracy against alpha on {figure.title}",
        caption=prose.FIGURE.format(title=figure.title),
        panels=tuple(inline_svg(panel, measures, ranges[panel.split]) for panel in figure.panels),
        legend=(*((measure.upper(), style(measure, measures)[0]) for measure in measures), ("alone", "currentColor")),
    )
    return [Heading(3, figure.title), picture, Text((prose.PANEL_TABLES,)), *map(panel_grid, figure.tables)]


def _noise(paper: Paper) -> list[Block]:
    header = ("Cells", "Scatter of one cell over seeds", "n", "Error of a difference of n seeds", "Error by the images")
    body = tuple(
        (row.panel, number_text(row.sigma), str(row.n), number_text(row.difference_error), number_text(row.image_error))
        for row in paper.noise
    )
    control = [Text((prose.CONTROL,)), *finding_blocks(paper.control)]
    return [Heading(2, "Noise and controls"), Text((prose.NOISE,)), Grid(header, body), *control]


def _scale(tables: Sequence[Table]) -> list[Block]:
    return [Heading(2, "Scale and weight"), Text((prose.SCALE,)), *map(scale_grid, tables)] if tables else []


def _gap(tables: Sequence[Table], paper: Paper | None) -> list[Block]:
    title, base = (
        ("What closes the gap", "the paper's plain distillation") if paper else ("Every configuration", "the defaults")
    )
    return [Heading(2, title), Text((prose.GAP.format(base=base),)), *map(gap_grid, tables)] if tables else []


def _poison(tables: Sequence[Table]) -> list[Block]:
    return [Heading(2, "Neighbours that lie"), Text((prose.POISON,)), *map(poison_grid, tables)] if tables else []


def _cost(ratios: Ratios) -> list[Block]:
    return [Heading(2, "What each measure costs"), Text((prose.COST,)), cost_grid(ratios)] if ratios else []


def _finding(finding: Finding) -> list[Block]:
    return [Heading(3, f"{finding.id.partition('-')[0]}. {finding.claim}"), *finding_blocks(finding)]


def _what_was_run(material: Material) -> list[Block]:
    results = material.results
    outcomes = (*results.together, *results.poisoned, *results.alone, *results.pooled)
    hours = sum(outcome.seconds for outcome in outcomes) / 3600
    cells = Counter(outcome.processor or "a processor that was not noted" for outcome in outcomes)
    processors = "; ".join(f"{name} ({number} cells)" for name, number in cells.most_common())
    return [
        Heading(2, "What was run"),
        Text((prose.RUN.format(hours=hours, processors=processors),)),
        _paper_settings(material.paper.figures) if material.paper else _settings(outcomes),
    ]


def _paper_settings(figures: Sequence[Figure]) -> Grid:
    shared = [settings(figure.family.config) for figure in figures]
    seeds = [sorted({seed_of(outcome) for outcome in figure.family.cells}) for figure in figures]
    names = [name for name in shared[0] if name not in AXES and any(each[name] is not None for each in shared)]
    rows = (
        ("cells", *(str(len(figure.family.cells)) for figure in figures)),
        ("seeds", *(", ".join(map(str, each)) for each in seeds)),
        *((f"`{name}`", *(_setting_text(each[name]) for each in shared)) for name in names),
    )
    return Grid(
        ("Setting", *(figure.title for figure in figures)), rows, folded="The settings that each figure's cells share"
    )


def _settings(outcomes: Iterable[Outcome]) -> Grid:
    """A table of all values of the settings in the cells of each data set."""
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.cell.kind == TOGETHER:
            groups[data_name(outcome.cell.config)].append(outcome)
    titles = sorted(groups)
    names = list(settings(groups[titles[0]][0].cell.config))
    rows = [("cells", *(str(len(groups[title])) for title in titles))]
    for name in names:
        found = [{settings(outcome.cell.config)[name] for outcome in groups[title]} for title in titles]
        if any(values != {None} for values in found):
            ordered = [sorted(values, key=lambda value: value_order(name, value)) for values in found]
            rows.append((f"`{name}`", *(", ".join(map(_setting_text, values)) for values in ordered)))
    return Grid(("Setting", *titles), tuple(rows), folded="The settings of each data set's cells")


def _setting_text(value: Any) -> str:
    text = "-" if value is None else str(value)
    kind, colon, path = text.partition(":")
    if kind == "folder" and colon:
        return f"folder:…/{'/'.join(Path(path).parts[-2:])}" if Path(path).is_absolute() else text
    return Path(text).name if text.startswith("/") else text
