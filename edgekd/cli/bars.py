"""Progress bars of long work on stderr; if stderr is no terminal, a plain line now and then.

An argument `tell` is the function that prints the plain lines.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from edgekd.cli.lines import say, stdout
from edgekd.printable import printable
from edgekd.protocol.amounts import bytes_text, duration

PLAIN_EVERY = 15.0  # seconds between two plain lines
MANY = 20  # pictures; there is no bar for fewer, which take no time
MANY_BYTES = 2**26  # there is no bar for fewer, which are hashed in some tenths of a second
ROOM = 50  # characters for texts beside a bar

Tell = Callable[[str], None]
Advance = Callable[[int], None]


def animated(console: Console) -> bool:
    """Whether bars may be drawn: on a terminal that is not dumb, unless $NO_COLOR asks for plain text."""
    return console.is_terminal and not console.is_dumb_terminal and not os.environ.get("NO_COLOR")


def say_beside(line: str) -> None:
    """Print one line on stderr, ignoring errors of writing."""
    with contextlib.suppress(OSError):
        say(line, err=True)


def terminal_may_go() -> contextlib.suppress:
    """Around drawing on a terminal: errors are ignored, so that work goes on if the terminal was closed."""
    return contextlib.suppress(OSError)


@contextmanager
def drawn(progress: Progress) -> Iterator[Progress]:
    """Draw `progress` inside the block. The work goes on if the terminal is closed meanwhile."""
    with terminal_may_go():
        progress.start()
    try:
        yield progress
    finally:
        with terminal_may_go():
            progress.stop()


class LeftColumn(ProgressColumn):
    """A column of a bar that shows the time left.

    Args:
        seconds_left: returns the seconds left, from the seconds since the start; None: not known yet.
    """

    def __init__(self, seconds_left: Callable[[float], float | None]) -> None:
        super().__init__()
        self._seconds_left = seconds_left

    def render(self, task: Task) -> Text:
        """Make the text of the column. rich calls this."""
        return Text("" if task.finished else f"{duration(self._seconds_left(task.elapsed or 0.0))} left")


def bars(console: Console, *columns: ProgressColumn | str, hidden: bool = False, transient: bool = False) -> Progress:
    """Make bars that fit `console`: the name of the work, the bar, then `columns`.

    They are disabled if `hidden` is true, or if the console is not `animated`.
    """
    what, bar = TextColumn("{task.description}", markup=False), BarColumn(max(10, min(40, console.width - ROOM)))
    disable = hidden or not animated(console)
    return Progress(what, bar, *columns, console=console, transient=transient, redirect_stdout=False, disable=disable)


def stderr_console() -> Console:
    """A console on stderr that prints texts as they are, without markup, since they may come from others."""
    return Console(stderr=True, markup=False, emoji=False)


def reading(count: int, tell: Tell = say_beside) -> AbstractContextManager[Advance]:
    """Show a bar while `count` pictures are read; yields a function to call with the number of further ones."""
    columns = (MofNCompleteColumn(), "pictures", TimeRemainingColumn())
    return _shown("reading", count, MANY, columns, lambda done: f"read {done} of {count} pictures", tell)


def classifying(count: int, tell: Tell = say_beside) -> AbstractContextManager[Advance]:
    """Show a bar while `count` images are classified; yields a function to call with the number of further ones."""
    columns = (MofNCompleteColumn(), "images", TimeRemainingColumn())
    return _shown("classifying", count, MANY, columns, lambda done: f"classified {done} of {count} images", tell)


def writing(count: int, tell: Tell = say_beside) -> AbstractContextManager[Advance]:
    """Show a bar while `count` pictures are written; yields a function to call with the number of further ones."""
    columns = (MofNCompleteColumn(), "pictures", TimeRemainingColumn())
    return _shown("writing", count, MANY, columns, lambda done: f"wrote {done} of {count} pictures", tell)


@contextmanager
def simulating(steps: int) -> Iterator[tuple[Advance, Tell]]:
    """Show a bar while `steps` steps (of all learners together) are simulated, if stderr is a terminal.

    Yields two functions: one to call with the number of further steps, and one that prints a line on stdout without
    damaging the bar.
    """
    progress = bars(stderr_console(), MofNCompleteColumn(), "steps", TimeRemainingColumn(), transient=True)
    task = progress.add_task("simulating", total=steps)

    def advance(count: int) -> None:
        with terminal_may_go():
            progress.start()  # not earlier, since reading the pictures has its own bar
            progress.advance(task, count)

    def tell(line: str) -> None:
        if progress.live.is_started and stdout().isatty():
            progress.console.print(printable(line), highlight=False, soft_wrap=True)
        else:
            say(line)

    try:
        yield advance, tell
    finally:
        with terminal_may_go():
            progress.stop()


def hashing(size: int, tell: Tell = say_beside) -> AbstractContextManager[Advance]:
    """Show a bar while a public file of `size` bytes is hashed; yields a function to call with further bytes."""

    def text(done: int) -> str:
        return f"hashed {bytes_text(done)} of {bytes_text(size)} of the public file"

    return _shown("hashing the public file", size, MANY_BYTES, (DownloadColumn(), TimeRemainingColumn()), text, tell)


def fetching(size: int, tell: Tell = say_beside) -> AbstractContextManager[Advance]:
    """Show a bar while a public file of `size` bytes (0: unknown) is fetched; yields a function to call with more."""

    def text(done: int) -> str:
        return f"fetched {bytes_text(done)} of the public file"

    return _shown("fetching the public file", size or None, 0, (DownloadColumn(), TransferSpeedColumn()), text, tell)


@contextmanager
def _shown(
    doing: str,
    total: int | None,
    least: int,
    columns: tuple[ProgressColumn | str, ...],
    text: Callable[[int], str],
    tell: Tell,
) -> Iterator[Advance]:
    """Show a bar from the first advance on, if `total` is at least `least` or None; else plain lines made by `text`."""
    console = stderr_console()
    is_drawn = animated(console) and (total is None or total >= least)
    progress = bars(console, *columns, transient=True)
    task = progress.add_task(doing, total=total)
    done, told_at = 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done, told_at
        done += count
        if is_drawn:
            with terminal_may_go():
                progress.start()
                progress.advance(task, count)
        elif time.monotonic() - told_at >= PLAIN_EVERY and done != total:
            told_at = time.monotonic()
            tell(text(done))

    try:
        yield advance
    finally:
        if is_drawn:
            with terminal_may_go():
                progress.stop()


@contextmanager
def stages(tell: Tell = say_beside) -> Iterator[Tell]:
    """Show the current stage of long work; yields a function to call with the name of each stage at its beginning."""
    console = stderr_console()
    columns = (SpinnerColumn("line"), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    told_at = time.monotonic()
    with drawn(Progress(*columns, console=console, transient=True, disable=not animated(console))) as progress:
        task = progress.add_task("beginning")

        def begin(name: str) -> None:
            nonlocal told_at
            with terminal_may_go():
                progress.update(task, description=printable(name), refresh=True)
            if progress.disable and time.monotonic() - told_at >= PLAIN_EVERY:
                told_at = time.monotonic()
                tell(name)

        yield begin


def decoding(tell: Tell = say_beside) -> Any:
    """Make the `Decoding` (how picture files are read) of commands, with bars, and with workers if that is faster."""
    from edgekd.data.decoding import Decoding

    return Decoding(workers=None, watch=partial(reading, tell=tell), watch_bytes=partial(hashing, tell=tell))
