"""Charts for a page, as SVG: text as text, the page's colour for ink, no background, no outside address."""

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

INK = "#1f2933"  # of text and axes; in a page it takes the page's colour
BLUE, ORANGE, GREEN = "#2f7fd6", "#d97f1e", "#1f9d74"  # readable on white and on black
RC: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "edgekd",
    "text.parse_math": False,  # a $ in the name of a folder is no mathematics
}
NAMED = 40  # classes; with more of them names have no room
NUMBERED = 20  # classes; with more of them numbers have no room
PIXELS = 96  # of CSS, an inch
LONGEST = 24  # characters of a class name at an axis
STRONGEST = 0.75  # opacity of a cell; numbers must be readable on it

Curve = Sequence[tuple[float, float]]


def page_svg(figure: "Figure", label: str, *, fixed: bool = False) -> str:
    """A figure to be put into a page.

    Args:
        figure: what is drawn.
        label: says to those who do not see it what it shows.
        fixed: it keeps its size; otherwise it is as wide as its place.
    """
    text = saved(figure, "svg", transparent=True).decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<(g|image) id="[^"]*"', r"<\1", text)  # a page has several charts, and an id once
    root, rest = text.split(">", 1)
    root = re.sub(r' (?:xmlns(?::\w+)?|width|height|version)="[^"]*"', "", root)
    size = f' style="width:{figure.get_figwidth() * PIXELS:.0f}px"' if fixed else ""
    root = root.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"{size}', 1)
    return f"{root}>{rest}".replace(INK, "currentColor")


def saved(figure: "Figure", suffix: str, *, transparent: bool = False) -> bytes:
    """A figure as the contents of a file."""
    file = io.BytesIO()
    metadata = {"Date": None} if suffix == "svg" else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)  # the viewer of SVG has its own fonts
        figure.savefig(file, format=suffix, dpi=150, transparent=transparent, metadata=metadata)
    return file.getvalue()


def heat_map(matrix: NDArray[np.int64], names: Sequence[str]) -> str:
    """A confusion matrix: rows are classes, columns what was predicted; the colour is the share of the row.

    Args:
        matrix: images, ``[classes, classes]``.
        names: of the classes.
    """
    count = len(names)
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    colours = np.zeros((count, count, 4))
    colours[..., :3] = _rgb(ORANGE)
    colours[np.arange(count), np.arange(count), :3] = _rgb(BLUE)
    colours[..., 3] = STRONGEST * shares**0.6  # seldom mistakes are seen, too
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
    """What each peer has gained in each class: blue is a gain, orange a loss; empty is not known.

    Args:
        gains: differences of accuracies, ``[classes, peers]``, with NaN.
        classes: names of the rows.
        peers: names of the columns.
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
    """Accuracy against probability.

    Args:
        bins: (mean probability, accuracy, share of the images) of each.
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
    """Lines over steps.

    Args:
        lines: points, colour and style of each, by its name.
        title: above it.
        ylabel: of the vertical axis.
        limits: of the vertical axis.
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
