"""Figure 2: mean accuracy against alpha, with a line for each measure and a panel for each split and combination."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgekd.lab.findings.cells import measure_order
from edgekd.lab.findings.panels import Panel, Point
from edgekd.lab.report.charts import INK, RC, page_svg, saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLES = {  # colour that is readable on white and on black, marker, line style
    "ce": ("#7c8794", "s", "--"),
    "kl": ("#2f7fd6", "o", "-"),
    "js": ("#d97f1e", "^", "-"),
    "td": ("#1f9d74", "D", "-"),
    "sed": ("#c0418a", "v", "-"),
    "mse": ("#8d6e4f", "P", "-"),
}
_MORE = ("#6a5acd", "#b0413e", "#4f8f8f", "#99852b")  # for the user's own measures
_DODGE = 0.011  # of alpha; horizontal distance between the error bars of the lines, so that none hides another


def style(measure: str, measures: Sequence[str]) -> tuple[str, str, str]:
    """The colour, marker and line style of a measure."""
    own = [each for each in measures if each not in STYLES]
    return STYLES.get(measure) or (_MORE[own.index(measure) % len(_MORE)], "X", "-")


def measures_of(panels: Sequence[Panel]) -> list[str]:
    """The measures of all panels together."""
    return sorted({measure for panel in panels for measure in panel.measures}, key=measure_order)


def render(panels: Sequence[Panel], title: str) -> dict[str, bytes]:
    """Draw the whole figure as ``png`` and ``svg``: suffix -> bytes. Rows are splits, columns combinations."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = list(dict.fromkeys(panel.split for panel in panels))
    columns = list(dict.fromkeys(panel.combine for panel in panels))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(1.2 + 4.4 * len(columns), 1.3 + 3.0 * len(rows)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(rows), len(columns), squeeze=False, sharey="row")
        for each in axes.flat:
            each.set_visible(False)
        for panel in panels:
            place = axes[rows.index(panel.split)][columns.index(panel.combine)]
            place.set_visible(True)
            _draw(place, panel, measures_of(panels))
        figure.suptitle(title, fontsize="medium")
        handles: dict[str, Any] = {}
        for each in axes.flat:
            handles |= {name: handle for handle, name in zip(*each.get_legend_handles_labels(), strict=True)}
        names = sorted(handles, key=lambda name: measure_order(name.lower()))
        figure.legend([handles[n] for n in names], names, loc="outside lower center", ncols=8, frameon=False)
        return {suffix: saved(figure, suffix) for suffix in ("png", "svg")}


def inline_svg(panel: Panel, measures: Sequence[str], limits: tuple[float, float]) -> str:
    """Draw one panel as SVG for a page; see `edgekd.lab.report.charts.page_svg`."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**RC, "svg.fonttype": "none"}):
        figure = Figure(figsize=(4.8, 3.3), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _draw(axes, panel, measures)
        axes.set_ylim(limits)
        label = f"{panel.title}: mean accuracy against alpha, a line a measure; the numbers are in the table"
        return page_svg(figure, label)


def limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """A range of accuracies that contains all points and their error bars."""
    points = [p for panel in panels for p in (*panel.points.values(), *([panel.alone] if panel.alone else []))]
    low, high = min(p.mean - p.std for p in points), max(p.mean + p.std for p in points)
    room = max(0.01, 0.06 * (high - low))
    return low - room, high + room


def _draw(axes: "Axes", panel: Panel, measures: Sequence[str]) -> None:
    for i, measure in enumerate(measures):
        found = sorted((alpha, p) for (name, alpha), p in panel.points.items() if name == measure)
        if not found:
            continue
        colour, marker, line = style(measure, measures)
        shift = (i - (len(measures) - 1) / 2) * _DODGE
        x, y = [alpha + shift for alpha, _ in found], [p.mean for _, p in found]
        end = ([1.0], [panel.alone.mean]) if panel.alone and found[-1][0] < 1 else ([], [])
        axes.plot(x + end[0], y + end[1], line, color=colour, linewidth=1.4)
        for hollow in (False, True):  # hollow: with a single seed, it is unknown how much the value varies
            chosen = [(x, p) for x, (_, p) in zip(x, found, strict=True) if (p.n == 1) == hollow]
            _errorbars(axes, chosen, marker, measure.upper(), colour, hollow=hollow)
    if panel.alone:
        _errorbars(axes, [(1.0, panel.alone)], "o", "alone", INK, hollow=panel.alone.n == 1)
        axes.axhline(panel.alone.mean, color=INK, linewidth=0.8, linestyle=":")
    seeds = sorted({p.n for p in panel.points.values()})
    n = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    axes.set_title(f"{panel.title} (seeds: {n})", fontsize="medium")
    axes.set(xlabel="alpha, the weight of the labels", ylabel="mean accuracy")
    axes.set_xticks(panel.alphas, [f"{alpha:g}" for alpha in panel.alphas])
    axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.8)


def _errorbars(
    axes: "Axes", points: Sequence[tuple[float, Point]], marker: str, label: str, colour: str, *, hollow: bool
) -> None:
    """Draw means with the standard deviation over the clients; nothing if there are no points."""
    if points:
        x, y, std = zip(*((x, p.mean, p.std) for x, p in points), strict=True)
        look = {"elinewidth": 1, "capsize": 2.5, "markersize": 5, "markerfacecolor": "none" if hollow else colour}
        axes.errorbar(x, y, std, fmt=marker, label=label, color=colour, **look)  # type: ignore[arg-type]
