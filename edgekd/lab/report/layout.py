"""The layout of a report's numbers: tables and findings as blocks of a document."""

import math
from collections.abc import Iterable, Sequence

from edgekd.lab.findings.claims import Finding, Part
from edgekd.lab.findings.cost import Ratios
from edgekd.lab.findings.panels import Point
from edgekd.lab.findings.stats import MIN_SEEDS, SUPPORTED, Comparison, Hypothesis, compare
from edgekd.lab.report.document import Block, Grid, Text
from edgekd.lab.report.tables import Row, Table
from edgekd.names import LIE_NAMES, MEASURE_NAMES


def interval_text(effect: float | None, low: float | None, high: float | None) -> str:
    """An effect with its interval as text, ``+0.103 [+0.080, +0.126]``; a dash if there is none."""
    if effect is None or not math.isfinite(effect):
        return "-"
    if low is None or high is None or not math.isfinite(low + high):
        return _signed(effect)
    return f"{_signed(effect)} [{_signed(low)}, {_signed(high)}]"


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"  # + 0.0 avoids -0.000


def found_text(found: Comparison) -> str:
    """A comparison with its interval as text."""
    return interval_text(found.effect, found.low, found.high)


def number_text(value: float | None) -> str:
    """A number with three decimals, or a dash."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


def findings_grid(findings: Iterable[Finding]) -> Grid:
    """A table with a row for each finding."""
    header = ("Nr", "The paper's finding", "Verdict", "Effect [95 % interval]", "n", "Noise", "The effect is")
    rows = tuple(
        (
            finding.id.partition("-")[0] if finding.id[0].isdigit() else "",
            finding.claim,
            finding.verdict,
            found_text(finding.deciding.found),
            str(finding.deciding.found.n),
            number_text(finding.noise),
            finding.deciding.name,
        )
        for finding in findings
    )
    return Grid(header, rows, cards=True)


def finding_blocks(finding: Finding) -> list[Block]:
    """The verdict of a finding in a sentence, and tables of the comparisons behind it."""
    decided = [p for p in finding.parts if p.decides]
    lines = [
        f"Verdict: **{finding.verdict}**. Unit: {finding.unit.name}, of which {finding.unit.margin:g} counts.",
        *remarks(finding),
    ]
    blocks: list[Block] = [Text((" ".join(lines),)), parts_grid(decided)]
    rest = [p for p in finding.parts if not p.decides and p.found.n]
    return [*blocks, parts_grid(rest, folded="More comparisons, which do not enter the verdict")] if rest else blocks


def remarks(finding: Finding) -> list[str]:
    """Sentences about what else must be known about a finding."""
    said = [finding.remark] if finding.remark else []
    deciding = finding.deciding
    if finding.verdict != SUPPORTED and deciding.hypothesis is Hypothesis.MORE and deciding.found.low > 0:
        said.append(f"An effect is there, but not shown to be of {finding.unit.margin:g}, what counts in practice.")
    said += [f"Missing: {each}." for each in finding.missing]
    return said


def parts_grid(parts: Sequence[Part], folded: str = "") -> Grid:
    """A table with a row for each comparison."""
    header = ("Comparison", "Hypothesis", "Difference [95 % interval]", "n", "cells", "Verdict")
    rows = tuple(
        (
            p.name,
            p.hypothesis.value,
            found_text(p.found),
            str(p.found.n),
            str(p.kinds),
            p.verdict,
        )
        for p in parts
    )
    return Grid(header, rows, folded=folded)


def _best(rows: Iterable[Row]) -> tuple[int, float | None]:
    """Number of seeds and mean of the best row with the most seeds, since means of few seeds scatter more."""
    return max(((row.n, row.mean) for row in rows), key=lambda best: (best[0], best[1] or 0.0))


def panel_grid(table: Table) -> Grid:
    """A table with a row for each measure and a column for each alpha, for one panel of figure 2."""
    rows = [row for row in table.rows if row.measure != "alone"]
    alone = next((row for row in table.rows if row.measure == "alone"), None)
    alphas = sorted({row.alpha for row in rows if row.alpha is not None})
    best = {alpha: _best(row for row in rows if row.alpha == alpha) for alpha in alphas}
    several = len({row.n for row in table.rows}) > 1

    def cell(row: Row | None) -> str:
        if row is None:
            return "-"
        text = _accuracy(row.mean, row.std_clients, row.std_error)
        text = f"**{text}**" if row.measure != "alone" and (row.n, row.mean) == best.get(row.alpha or 0.0) else text
        return f"{text}, n {row.n}" if several else text

    body = []
    for measure in dict.fromkeys(row.measure for row in rows):
        of = {row.alpha: row for row in rows if row.measure == measure}
        end = [cell(of.get(1.0) or alone)] if alone else []
        body.append((measure.upper(), *(cell(of.get(alpha)) for alpha in alphas if alpha < 1 or not alone), *end))
    header = (
        "Measure",
        *(f"alpha {a:g}" for a in alphas if a < 1 or not alone),
        *(["1, alone"] if alone else []),
    )
    seeds = "" if several else f", n = {table.rows[0].n} seeds"
    return Grid(header, tuple(body), caption=f"**{table.title}**{seeds}. {beside_text(table)}")


def scale_grid(table: Table) -> Grid:
    """A table with a row for each measure, scale and alpha, and a column for each weight of the distillation loss."""
    alphas = {row.alpha for row in table.rows}
    weights = sorted({row.kd_weight for row in table.rows if row.kd_weight is not None})
    best = _best(table.rows)

    def cell(row: Row | None) -> str:
        if row is None:
            return "-"
        text = f"{number_text(row.mean)} ± {number_text(row.std_error)}"
        return f"**{text}**" if (row.n, row.mean) == best else text

    groups: dict[tuple[float, str, str], dict[float, Row]] = {}
    for row in table.rows:
        groups.setdefault((row.alpha or 0.0, row.measure, row.kd_scale), {})[row.kd_weight or 0.0] = row
    body = tuple(
        (measure.upper(), scale, f"{alpha:g}", *(cell(of.get(weight)) for weight in weights))
        for (alpha, measure, scale), of in groups.items()
    )
    title = f"**{table.title}**" + (f", alpha {next(iter(alphas)):g}" if len(alphas) == 1 else "")
    header = ("Measure", "Scale", "alpha", *(f"weight {weight:g}" for weight in weights))
    caption = f"{title}, n = {_n_text(table)} seeds. {beside_text(table, clients=False)}"
    return Grid(header, body, caption=caption)


def gap_grid(table: Table) -> Grid:
    """A table with a row for each configuration, between the baselines."""
    header = ("Configuration", "Accuracy", "n", "Gain over the base", "Share of the gap closed", "MB sent a client")

    rows = [
        (
            row.label,
            _accuracy(row.mean, row.std_clients, row.std_error),
            str(row.n),
            interval_text(row.gain, row.gain_low, row.gain_high),
            interval_text(row.gap_closed, row.gap_low, row.gap_high).replace("+", ""),
            f"{row.megabytes:.3g}",
        )
        for row in table.rows
    ]
    beside = {
        name: (
            name,
            _accuracy(of.mean, _std(name, of), of.error),
            str(of.n),
            "-",
            {"alone": "0", "pooled": "1"}.get(name, "-"),
            "0" if name != "pooled" else "-",
        )
        for name, of in table.beside.items()
    }
    below = [line for name, line in beside.items() if name != "pooled"]
    above = [line for name, line in beside.items() if name == "pooled"]
    return Grid(header, (*below, *rows, *above), caption=f"**{table.title}**")


def poison_grid(table: Table) -> Grid:
    """A table with a row for each measure and combination, and a column for each lie."""
    labels = sorted({row.label for row in table.rows}, key=lambda label: (label in LIE_NAMES, label))
    groups: dict[tuple[str, str], dict[str, Row]] = {}
    for row in table.rows:
        groups.setdefault((row.measure.upper(), row.combine), {})[row.label] = row

    def cell(row: Row | None) -> str:
        if row is None:
            return "-"
        text = number_text(row.mean) + (f" ± {number_text(row.std_error)}" if row.std_error is not None else "")
        text = text if row.gain is None else f"{text} ({_signed(row.gain)})"
        return f"{text}, n {row.n}" if several else text

    several = len({row.n for row in table.rows}) > 1
    body = tuple((*name, *(cell(of.get(label)) for label in labels)) for name, of in groups.items())
    caption = f"**{table.title}**, n = {_n_text(table)} seeds. {beside_text(table, clients=False)}"
    return Grid(("Measure", "Combination", *labels), body, caption=caption)


def _n_text(table: Table) -> str:
    """The number of seeds in the rows as text: ``5``, ``2 to 3``."""
    seeds = sorted({row.n for row in table.rows})
    return f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"


def beside_text(table: Table, *, clients: bool = True) -> str:
    """A sentence with the baselines, with numbers as in the table; `clients`: with the deviation over the clients."""

    def numbers(name: str, of: Point) -> str:
        return _accuracy(of.mean, _std(name, of), of.error) if clients else _accuracy(of.mean, of.error)

    said = [f"{name} {numbers(name, of)}, n {of.n}" for name, of in table.beside.items()]
    return f"Beside it: {'; '.join(said)}." if said else ""


def _accuracy(mean: float | None, std: float | None, error: float | None = None) -> str:
    """An accuracy as text, ``0.512 ± 0.034 (0.006)``: deviation and standard error, as far as they are known."""
    text = number_text(mean)
    if std is not None and math.isfinite(std):
        text += f" ± {number_text(std)}"
    return text if error is None or not math.isfinite(error) else f"{text} ({number_text(error)})"


def _std(name: str, of: Point) -> float | None:
    return None if name == "pooled" else of.std  # pooled is one model, not several clients


def cost_grid(ratios: Ratios) -> Grid:
    """A table of the time of each measure, and of torch's own loss, as a multiple of KL's; a column for each shape."""
    measures = list(next(iter(ratios.values())))

    def cell(values: Sequence[float]) -> str:
        found = compare(values)
        effect = f"{found.effect:.2f}"
        return effect if found.n < MIN_SEEDS else f"{effect} [{found.low:.2f}, {found.high:.2f}]"

    body = tuple(
        (measure.upper() if measure in MEASURE_NAMES else measure, *(cell(ratios[shape][measure]) for shape in ratios))
        for measure in measures
    )
    return Grid(("Measure", *(f"at {shape}" for shape in ratios)), body)
