"""Answers of a network on a terminal and in files: a table, a bar of progress, CSV."""

import csv
import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from edgekd.cli.columns import Column, fitted
from edgekd.cli.lines import say
from edgekd.cli.progress import PLAIN_EVERY
from edgekd.printable import printable
from edgekd.use.answers import DIGITS, Answer

MANY = 20  # pictures; fewer are read before a bar could be seen


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


@contextmanager
def progress(count: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr while `count` pictures are read, and a line now and then where stderr is no terminal.

    It gives what is called after each picture.
    """
    console = Console(stderr=True, markup=False, emoji=False)
    if count < MANY or not console.is_terminal:
        yield _plain(count)
        return
    columns = (BarColumn(), MofNCompleteColumn(), "pictures", TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=count)
        yield lambda: bar.advance(task)


def _plain(count: int) -> Callable[[], None]:
    done, said_at = 0, time.monotonic()

    def advance() -> None:
        nonlocal done, said_at
        done += 1
        if time.monotonic() - said_at >= PLAIN_EVERY and done < count:
            said_at = time.monotonic()
            say(f"{done} of {count} pictures", err=True)

    return advance
