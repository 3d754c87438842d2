"""The plot of the race: accuracy over seconds, processor seconds and bytes; a line a system, means over nodes."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from race.rows import CurvePoint
from race.systems import SYSTEMS

SILENT = 10_000  # bytes; who has sent less has no neighbours, and is a dotted line at its last accuracy
AXES = {"seconds": "seconds", "processor_seconds": "processor seconds of a node", "bytes": "MB of a node"}


def draw(curve: Iterable[CurvePoint], path: Path) -> None:
    """Draw all curves: a row of axes for each setting.

    Args:
        curve: the evaluations of all runs.
        path: the SVG file.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    settings: dict[str, dict[str, dict[int, list[CurvePoint]]]] = {}
    for point in curve:
        whos = settings.setdefault(point.setting, {})
        whos.setdefault(point.who, defaultdict(list))[point.step].append(point)
    if not settings:
        return
    figure, rows = pyplot.subplots(
        len(settings), len(AXES), figsize=(13, 4 * len(settings)), squeeze=False, constrained_layout=True
    )
    for axes, (setting, whos) in zip(rows, settings.items(), strict=True):
        for axis, (name, label) in zip(axes, AXES.items(), strict=True):
            for who, steps in whos.items():
                known = sorted(steps.items())
                xs = [sum(getattr(each, name) for each in points) / len(points) for _, points in known]
                ys = [sum(each.accuracy for each in points) / len(points) for _, points in known]
                colour = f"C{list(SYSTEMS).index(who)}"  # the same in all axes
                if name == "bytes" and max(xs) < SILENT:
                    axis.axhline(ys[-1], color=colour, linewidth=1, linestyle=":", label=who)
                else:
                    xs = [x / 1e6 for x in xs] if name == "bytes" else xs
                    axis.plot(xs, ys, color=colour, marker=".", markersize=3, linewidth=1, label=who)
            axis.set_xscale("log")
            axis.tick_params(axis="x", which="both", labelsize="x-small")
            axis.set_xlabel(label)
        axes[0].set_ylabel("accuracy on the evaluation set")
        axes[0].set_title(setting, loc="left")
        axes[-1].legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
