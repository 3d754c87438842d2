"""Plots of a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

Curve = Sequence[tuple[int, float]]  # (step, accuracy in [0, 1])


def plot_accuracy(path: Path, together: Mapping[int, Curve], alone: Mapping[int, Curve], pooled: float | None) -> None:
    """Plot accuracy over steps as PNG, one line for each peer: together solid, alone dashed; `pooled` is a level."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for style, group, name in (("-", together, "together"), ("--", alone, "alone")):
        for id, curve in sorted(group.items()):
            steps, values = zip(*curve, strict=True) if curve else ((), ())
            axes.plot(steps, values, style, color=f"C{id % 10}", label=f"peer {id} {name}")
    if pooled is not None:
        axes.axhline(pooled, color="black", linewidth=1, linestyle=":", label="pooled data")
    axes.set(xlabel="step", ylabel="accuracy on the evaluation set", ylim=(0, 1))
    axes.grid(alpha=0.3)
    if together or alone:
        axes.legend(fontsize="small", ncols=2)
    figure.savefig(path, dpi=120)


def read_curve(metrics: Path) -> list[tuple[int, float]]:
    """The evaluations in a ``metrics.jsonl``; empty if the file does not exist."""
    if not metrics.is_file():
        return []
    records = (json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines())
    return [(record["step"], record["accuracy"]) for record in records if "accuracy" in record]
