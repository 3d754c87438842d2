"""Answers of a network on a terminal and in files: a table, CSV."""

import csv
import io
from collections.abc import Sequence

from rich.console import Console

from edgekd.cli.columns import Column, fitted
from edgekd.printable import printable
from edgekd.use.answers import DIGITS, Answer


def print_table(answers: Sequence[Answer], console: Console) -> None:
    """A row a picture that was read, the likeliest class first; where there is no room the others are left out."""
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
    """The end of a path, which tells pictures apart."""
    return path if longest is None or len(path) <= longest else f"...{path[3 - longest :]}"


def as_csv(answers: Sequence[Answer]) -> bytes:
    """A row a picture: file, class_1, probability_1, class_2, ..., error; UTF-8 with a header line."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    count = max((len(answer.classes) for answer in answers), default=0)
    rows.writerow(["file", *(f"{kind}_{i + 1}" for i in range(count) for kind in ("class", "probability")), "error"])
    for answer in answers:
        cells = [cell for name, value in answer.classes for cell in (name, f"{value:.{DIGITS}f}")]
        rows.writerow([answer.file, *cells, *[""] * (2 * count - len(cells)), answer.error or ""])
    return text.getvalue().encode(errors="surrogateescape")
