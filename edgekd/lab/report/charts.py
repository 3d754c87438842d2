"""Charts for a web page, as SVG: real text, in the colour of the page, without background or external addresses."""

import html
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekd.printable import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1f2933"  # of text and axes; in a page it is replaced by the page's colour
BLUE, ORANGE, GREEN = "#2f7fd6", "#d97f1e", "#1f9d74"  # readable on white and on black
RC: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "edgekd",
    "text.parse_math": False,  # a $ in a folder name is not mathematics
}
NAMED = 40  # largest number of classes whose names fit
NUMBERED = 20  # largest number of classes whose numbers fit
PIXELS = 96  # CSS pixels in an inch
LONGEST = 24  # characters of a class name on an axis
STRONGEST = 0.75  # opacity of a cell, so that numbers are readable on it

Curve = Sequence[tuple[float, float]]


def page_svg(figure: "Figure", label: str, *, fixed: bool = False) -> str:
    """Convert a figure to SVG for a page.

    Args:
        figure: the figure.
        label: a description for people who cannot see it.
        fixed: True: it keeps its size. False: it is as wide as its place.
    """
    text = saved(figure, "svg", transparent=True).decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<(g|image) id="[^"]*"', r"<\1", text)  # a page has several charts, and ids must be unique
    root, rest = text.split(">", 1)
    root = re.sub(r' (?:xmlns(?::\w+)?|width|height|version)="[^"]*"', "", root)
    size = f' style="width:{figure.get_figwidth() * PIXELS:.0f}px"' if fixed else ""
    root = root.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"{size}', 1)
    return f"{root}>{rest}".replace(INK, "currentColor")


def saved(figure: "Figure", suffix: str, *, transparent: bool = False) -> bytes:
    """The figure as the content of a file; `suffix` is "svg" or "png"."""
    file = io.BytesIO()
    metadata = {"Date": None} if suffix == "svg" else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)  # a viewer of SVG has its own fonts
        figure.savefig(file, format=suffix, dpi=150, transparent=transparent, metadata=metadata)
    return file.getvalue()


def heat_map(matrix: NDArray[np.int64], names: Sequence[str]) -> str:
    """Draw a confusion matrix: rows are true classes, columns predicted ones; the colour shows the fraction of the row.

    Args:
        matrix: number of images, ``[classes, classes]``.
        names: the class names.
    """
    count = len(names)
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    colours = np.zeros((count, count, 4))
    colours[..., :3] = _rgb(ORANGE)
    colours[np.arange(count), np.arange(count), :3] = _rgb(BLUE)
    colours[..., 3] = STRONGEST * shares**0.6  # so that rare mistakes are visible, too
    side = 2.2 + 0.45 * min(count, NUMBERED) if count <= NAMED else 7
    with _axes(side + 1.2, side) as axes:
        axes.imshow(colours, interpolation="none", aspect="equal")
        if count <= NUMBERED:
            for row, column in zip(*np.nonzero(matrix), strict=True):
                axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=8)
        shown = names if count <= NAMED else []
        _name_axes(axes, shown, shown, "predicted", "class")
        return _svg(axes, "Confusion matrix: rows are classes, columns predictions", fixed=True)


def gain_map(gains: NDArray[np.float64], classes: Sequence[str], peers: Sequence[str]) -> str:
    """Draw the gain of each peer in each class: blue is a gain, orange a loss, empty is unknown.

    Args:
        gains: differences of accuracies, ``[classes, peers]``, NaN if unknown.
        classes: the names of the rows.
        peers: the names of the columns.
    """
    colours = np.zeros((*gains.shape, 4))
    colours[..., :3] = np.where(np.nan_to_num(gains)[..., None] >= 0, _rgb(BLUE), _rgb(ORANGE))
    colours[..., 3] = STRONGEST * np.minimum(1, np.abs(np.nan_to_num(gains))) ** 0.6
    with _axes(2.6 + 0.62 * len(peers), 1.2 + 0.32 * len(classes)) as axes:
        axes.imshow(colours, interpolation="none", aspect="auto")
        for row, column in zip(*np.nonzero(~np.isnan(gains)), strict=True):
            text = f"{round(gains[row, column], 2) + 0.0:+.2f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8)
        _name_axes(axes, classes, peers, "", "")
        return _svg(axes, "Gain in accuracy of each peer by class; the numbers are in the tables", fixed=True)


def reliability(bins: Sequence[tuple[float, float, float]]) -> str:
    """Draw how often predictions are right, against the probability that they give to their class.

    Args:
        bins: (mean probability, accuracy, fraction of the images) for each interval of the probability.

    Returns:
        The picture as SVG.
    """
    with _axes(4.8, 3.6) as axes:
        axes.plot([0, 1], [0, 1], ":", color=INK, linewidth=1)
        x, y, share = zip(*bins, strict=True)
        axes.vlines(x, x, y, color=ORANGE, linewidth=1.5)
        axes.plot(x, y, color=BLUE, linewidth=1.2)
        axes.scatter(x, y, s=[20 + 400 * each for each in share], color=BLUE, alpha=0.75, linewidths=0)
        axes.set(xlabel="probability of the likeliest class", ylabel="accuracy", xlim=(0, 1.03), ylim=(-0.03, 1.03))
        axes.grid(color=INK, alpha=0.15, linewidth=0.8)
        return _svg(axes, "Reliability: accuracy against probability, with the diagonal on which both are equal")


def curves(
    lines: Mapping[str, tuple[Curve, str, str]], title: str, ylabel: str, limits: tuple[float, float] | None = None
) -> str:
    """Draw lines over steps.

    Args:
        lines: name -> points, colour and line style.
        title: the title above the chart.
        ylabel: the label of the vertical axis.
        limits: the range of the vertical axis; None: automatic.
    """
    with _axes(4.8, 3.1) as axes:
        for points, colour, line in lines.values():
            if points:
                x, y = zip(*points, strict=True)
                axes.plot(x, y, line, color=colour, linewidth=1.4, marker="o" if len(x) == 1 else "", markersize=4)
        axes.set_title(title, fontsize="medium")
        axes.set(xlabel="step", ylabel=ylabel, **({} if limits is None else {"ylim": limits}))
        axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.8)
        return _svg(axes, f"{title}: {ylabel} over the steps: {', '.join(lines)}")


def _svg(axes: "Axes", label: str, *, fixed: bool = False) -> str:
    return page_svg(axes.figure, label, fixed=fixed)  # type: ignore[arg-type]


@contextmanager
def _axes(width: float, height: float) -> "Iterator[Axes]":
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**RC, "svg.fonttype": "none"}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure.add_subplot()


def _name_axes(axes: "Axes", rows: Sequence[str], columns: Sequence[str], xlabel: str, ylabel: str) -> None:
    for axis, names in ((axes.yaxis, rows), (axes.xaxis, columns)):
        axis.set_ticks(range(len(names)), [printable(name, LONGEST) for name in names])
    if max(map(len, columns), default=0) > 3:
        axes.tick_params(axis="x", labelrotation=90)
    axes.set(xlabel=xlabel, ylabel=ylabel)


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
