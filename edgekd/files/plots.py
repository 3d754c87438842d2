"""Plots of the accuracy of a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekd.files.summary import standard_error

Curve = Sequence[tuple[int, float]]  # (step, accuracy in [0, 1])
_STYLES = {"together": "-", "alone, balanced": "-.", "alone": "--"}


def plot_accuracy(
    path: Path, curves: Mapping[str, Mapping[int, Curve]], pooled: float | None, *, title: str, samples: int
) -> None:
    """Plot accuracy over steps as PNG, with a band of one standard error.

    Args:
        path: the file to write.
        curves: name -> peer id -> curve; the names are "together", "alone, balanced" and "alone", as far as these
            exist.
        pooled: the accuracy of one model that is trained on all shards, drawn as a horizontal line; None: no line.
        title: what was run.
        samples: the number of evaluation images.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, style in _STYLES.items():
        for id, curve in sorted(curves.get(name, {}).items()):
            steps, values = zip(*curve, strict=True) if curve else ((), ())
            errors = [standard_error(value, samples) for value in values]
            low, high = ([v + sign * e for v, e in zip(values, errors, strict=True)] for sign in (-1, 1))
            axes.plot(steps, values, style, color=f"C{id % 10}", label=f"peer {id} {name}")
            axes.fill_between(steps, low, high, color=f"C{id % 10}", alpha=0.12, linewidth=0)
    if pooled is not None:
        error = standard_error(pooled, samples)
        axes.axhline(pooled, color="black", linewidth=1, linestyle=":", label="pooled data")
        axes.axhspan(pooled - error, pooled + error, color="black", alpha=0.1, linewidth=0)
    axes.set(xlabel="step", ylabel=f"accuracy on {samples} evaluation images, ± standard error", ylim=(0, 1))
    axes.set_title(title, fontsize="medium", parse_math=False)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", fontsize="small", ncols=3)
    figure.savefig(path, dpi=120)


def read_curve(metrics: Path) -> list[tuple[int, float]]:
    """Read the accuracies from a ``metrics.jsonl`` as (step, accuracy); empty if the file does not exist."""
    if not metrics.is_file():
        return []
    records = (json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines())
    return [(record["step"], record["accuracy"]) for record in records if "accuracy" in record]
