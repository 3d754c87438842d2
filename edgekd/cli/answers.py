"""The answers of a network for pictures, as a table on a terminal and as CSV (comma-separated values)."""

import csv
import io
from collections.abc import Sequence

from rich.console import Console

from edgekd.cli.columns import Column, fitted
from edgekd.printable import printable
from edgekd.use.answers import DIGITS, Answer


def print_table(answers: Sequence[Answer], console: Console) -> None:
    """Print a row for each picture, the most probable class first; a narrow terminal leaves out the other classes."""
    if not answers:
        return
    count = len(answers[0].classes)
    columns = [Column("picture", justify="left"), Column("class", justify="left"), Column("probability")]
    columns += [Column(f"{place + 1}", place, justify="left") for place in range(1, count)]
    room = max(20, console.width // 3) if console.is_terminal else None
    rows = [
        [_ending(printable(answer.file), room), printable(answer.classes[0][0]), f"{answer.classes[0][1]:.4f}"]
        + [printable(f"{name} {value:.4f}") for name, value in answer.classes[1:]]
        for answer in answers
    ]
    console.print(fitted(columns, [rows], console))


def _ending(path: str, longest: int | None) -> str:
    """The last characters of a path, at most `longest` (None: all), since the end tells pictures apart."""
    return path if longest is None or len(path) <= longest else f"...{path[3 - longest :]}"


def as_csv(answers: Sequence[Answer]) -> bytes:
    """Write answers as CSV in UTF-8: a header, then a row for each picture.

    The columns are file, class_1, probability_1, class_2, ..., error.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    count = max((len(answer.classes) for answer in answers), default=0)
    rows.writerow(["file", *(f"{kind}_{i + 1}" for i in range(count) for kind in ("class", "probability")), "error"])
    for answer in answers:
        cells = [cell for name, value in answer.classes for cell in (name, f"{value:.{DIGITS}f}")]
        rows.writerow([answer.file, *cells, *[""] * (2 * count - len(cells)), answer.error or ""])
    return text.getvalue().encode(errors="surrogateescape")
