"""The paper's figure in small: a sweep over two measures, three weights of the labels and two splits, and its report.

    python small_figure.py

The same two commands, without --model, --size and --limit, make the whole figure; that takes hours.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from torch import nn


def make(classes: int) -> nn.Module:
    """A network so small that a cell of the sweep takes seconds."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=4), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes)
    )


def edgekd(*arguments: object) -> None:
    """Run a command of edgekd."""
    subprocess.run([sys.executable, "-m", "edgekd", *map(str, arguments)], check=True)


def main() -> None:
    """Sweep, then report."""
    folder = Path(tempfile.mkdtemp(prefix="edgekd-small-figure-"))
    tiny = [
        "--model",
        f"{Path(__file__).resolve()}:make",
        "--size",
        16,
        "--limit",
        600,
        "--steps",
        40,
        "--eval-every",
        0,
    ]
    grid = ["--measure", "kl,sed", "--alpha", "0.2,0.5,0.8", "--split", "iid,gamma:15", "--combine", "average"]
    edgekd("sweep", *tiny, *grid, "--jobs", 1, "--out", folder / "results")
    edgekd("report", folder / "results", "--paper", "--out", folder / "report")
    print("the figure and its tables:", *sorted((folder / "report").iterdir()), sep="\n  ")


if __name__ == "__main__":
    main()
