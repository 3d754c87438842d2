"""Make a small version of the paper's figure: run a sweep, and write its report.

    python small_figure.py

The sweep has two measures, three weights of the labels and two splits. The same two commands without --model, --size,
--limit, --steps and --eval-every make the whole figure, which takes hours.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from torch import nn


def make(classes: int) -> nn.Module:
    """A network so small that each simulation of the sweep takes seconds."""
    features = [nn.Conv2d(3, 16, 5, stride=4), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*features, nn.Linear(16 * 3 * 3, classes))


def edgekd(command: str, *arguments: object) -> None:
    """Run a command of edgekd; options that are separated by spaces may be one argument."""
    subprocess.run([sys.executable, "-m", "edgekd", *command.split(), *map(str, arguments)], check=True)


def main() -> None:
    """Sweep, then report."""
    folder = Path(tempfile.mkdtemp(prefix="edgekd-small-figure-"))
    small = "--size 16 --limit 600 --steps 40 --eval-every 0 --jobs 1"
    grid = "--measure kl,sed --alpha 0.2,0.5,0.8 --split iid,gamma:15 --combine average"
    network = f"{Path(__file__).resolve()}:make"

    edgekd(f"sweep {small} {grid}", "--model", network, "--out", folder / "results")
    edgekd("report --paper", folder / "results", "--out", folder / "report")
    print("the figure and its tables:", *sorted((folder / "report").iterdir()), sep="\n  ")


if __name__ == "__main__":
    main()
