"""Writing a report of sweeps: findings, figures and tables, as an HTML page, Markdown, CSV and JSON."""

import csv
import dataclasses
import io
import json
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from edgekd.files.atomic import write_atomically
from edgekd.files.summary import standard_error
from edgekd.files.writable import make_folder
from edgekd.lab.findings.asked import choices
from edgekd.lab.findings.cells import AXES, data_name, mean_accuracy, seed_of
from edgekd.lab.findings.claims import Finding, make_study
from edgekd.lab.findings.contrasts import scatter_of
from edgekd.lab.findings.cost import Ratios, read_ratios
from edgekd.lab.findings.panels import Family, families, main_families, panels
from edgekd.lab.findings.paper import all_findings, ce_like_kl
from edgekd.lab.findings.results import Baselines, Results, read_results
from edgekd.lab.report.choosing import choice_rows
from edgekd.lab.report.contents import Figure, Material, Paper, report_blocks
from edgekd.lab.report.document import to_html, to_markdown
from edgekd.lab.report.figures import render
from edgekd.lab.report.layout import remarks
from edgekd.lab.report.poison import poison_tables
from edgekd.lab.report.tables import (
    COLUMNS,
    Row,
    baseline_rows,
    finding_rows,
    finite,
    gap_tables,
    panel_table,
    scale_tables,
    told_apart,
)
from edgekd.lab.sweep.records import Outcome

Begin = Callable[[str], object]  # is called with a text at the beginning of each stage


def write_report(
    folders: Sequence[Path],
    out: Path,
    against: Sequence[str] = (),
    *,
    paper: bool = False,
    begin: Begin = lambda stage: None,
) -> Material:
    """Write the report of the sweeps in `folders` into `out`, and return its content.

    Args:
        folders: folders that `edgekd sweep` has filled.
        out: the folder of the report.
        against: the settings to compare, and with which values; see `edgekd.lab.findings.asked.choices`.
        paper: whether to add the paper's findings, figure and tables.
        begin: is called at the beginning of each stage.

    Raises:
        ConfigError: a folder does not exist or holds no results, `out` cannot be made, or `against` cannot be compared.
        OSError: `out` cannot be written.
    """
    material = gather(folders, against, paper=paper, begin=begin)
    make_folder(out)
    begin("writing the report")
    blocks = report_blocks(material)
    files = {
        "report.md": _bytes(to_markdown(blocks)),
        "index.html": _bytes(to_html(blocks)),
        "tables.csv": _bytes(csv_text(all_rows(material))),
    }
    if material.paper:
        findings = [finding_mapping(finding) for finding in (*material.paper.findings, material.paper.control)]
        files["findings.json"] = (json.dumps(findings, indent=2) + "\n").encode()
        for figure in material.paper.figures:
            for suffix, content in render(figure.panels, figure.title).items():
                files[f"{figure.file}.{suffix}"] = content
    for name, content in files.items():
        write_atomically(out / name, [content])
    return material


def _bytes(text: str) -> bytes:
    """The text as UTF-8; characters from names that are not valid UTF-8 are escaped."""
    return text.encode(errors="backslashreplace")


def gather(
    folders: Sequence[Path], against: Sequence[str] = (), *, paper: bool = False, begin: Begin = lambda stage: None
) -> Material:
    """Collect the content of a report; `begin` is called at the beginning of each stage.

    Raises:
        ConfigError: a folder does not exist or holds no results, or `against` cannot be compared.
    """
    begin("reading the cells")
    results = read_results(folders)
    baselines = Baselines(results)
    ratios = read_ratios(folders)
    begin(f"comparing {len(results.together) + len(results.poisoned)} cells")
    found = choices((*results.together, *results.poisoned), against)
    begin("making the tables" + (", and the paper's findings and figures" if paper else ""))
    return Material(
        results=results,
        choices=found,
        gap=tuple(gap_tables(results, paper=paper)),
        poison=tuple(poison_tables(results, baselines)),
        ratios=ratios,
        paper=_paper(results, baselines, ratios) if paper else None,
    )


def _paper(results: Results, baselines: Baselines, ratios: Ratios) -> Paper:
    found = families(results.together)
    study = make_study(main_families(found), results.together, baselines)
    figures = tuple(make_figures(found, baselines))
    return Paper(
        findings=tuple(all_findings(study, ratios)),
        control=ce_like_kl(study),
        figures=figures,
        scale=tuple(scale_tables(results.together, baselines)),
        noise=tuple(noise_rows(figures)),
    )


def make_figures(found: Sequence[Family], baselines: Baselines) -> list[Figure]:
    """Make a figure for each family with several measures and alphas; if there is none, for the first family."""
    chosen = [family for family in found if family.whole] or list(found[:1])
    titles = told_apart([family.config for family in chosen], data_name, *AXES)
    drawn: list[Figure] = []
    for family, title in zip(chosen, titles, strict=True):
        before = sum(figure.family.data == family.data for figure in drawn)
        first = not drawn or family.data == drawn[0].family.data
        file = "figure2" + ("" if first else "-" + re.sub(r"\W+", "-", family.data)) + (f"-{before + 1}" * bool(before))
        made = tuple(panels(family, baselines))
        tables = tuple(panel_table(panel, title, baselines) for panel in made)
        drawn.append(Figure(file, title, family, made, tables))
    return drawn


def noise_rows(figures: Iterable[Figure]) -> list[Row]:
    """The scatter of a cell's accuracy over the seeds as rows, by figure and split."""
    rows = []
    for figure in figures:
        for split in dict.fromkeys(panel.split for panel in figure.panels):
            cells = [outcome for panel in figure.panels if panel.split == split for outcome in panel.cells]
            found, n = scatter_of(cells, mean_accuracy), len({seed_of(outcome) for outcome in cells})
            mean = statistics.fmean(map(mean_accuracy, cells))
            rows.append(
                Row(
                    table="noise",
                    panel=f"{figure.title}, {split}",
                    data=figure.family.data,
                    split=split,
                    n=n,
                    mean=mean,
                    sigma=finite(found.sigma),
                    difference_error=finite(found.error(n)),
                    image_error=standard_error(mean, _images(cells)),
                )
            )
    return rows


def _images(cells: Iterable[Outcome]) -> int:
    return min(peer.evaluation_samples for outcome in cells for peer in outcome.peers)


def all_rows(material: Material) -> list[Row]:
    """The rows of all tables."""
    paper = material.paper
    tables = [
        *((table for figure in paper.figures for table in figure.tables) if paper else ()),
        *(paper.scale if paper else ()),
        *material.gap,
        *material.poison,
    ]
    rows = [row for table in tables for row in table.rows]
    return [
        *choice_rows(material.choices),
        *rows,
        *baseline_rows(tables),
        *((*paper.noise, *finding_rows([*paper.findings, paper.control])) if paper else ()),
        *_cost_rows(material.ratios),
    ]


def _cost_rows(ratios: Ratios) -> list[Row]:
    return [
        Row(table="cost", panel=shape, measure=measure, n=len(values), time=statistics.fmean(values))
        for shape, of in ratios.items()
        for measure, values in of.items()
    ]


def csv_text(rows: Iterable[Row]) -> str:
    """Rows as CSV with a header; None becomes empty, and numbers have six significant digits."""

    def text(value: Any) -> Any:
        return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value

    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([text(value) for value in dataclasses.astuple(row)] for row in rows)
    return file.getvalue()


def finding_mapping(finding: Finding) -> dict[str, Any]:
    """A finding as in ``findings.json``; unknown numbers are null."""
    deciding = finding.deciding
    return {
        "id": finding.id,
        "claim": finding.claim,
        "verdict": finding.verdict,
        **_numbers(deciding.found.effect, deciding.found.low, deciding.found.high),
        "n": deciding.found.n,
        "effect_of": deciding.name,
        "unit": finding.unit.name,
        "margin": finding.unit.margin,
        "noise": finite(finding.noise),
        "details": " ".join(remarks(finding)),
        "parts": [
            {
                "comparison": part.name,
                "hypothesis": part.hypothesis.value,
                "decides": part.decides,
                "verdict": part.verdict,
                **_numbers(part.found.effect, part.found.low, part.found.high),
                "n": part.found.n,
                "cells": part.kinds,
            }
            for part in finding.parts
        ],
    }


def _numbers(effect: float, low: float, high: float) -> dict[str, float | None]:
    return {"effect": finite(effect), "low": finite(low), "high": finite(high)}
