"""Long work on stderr: a bar on a terminal, elsewhere a line now and then."""

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

PLAIN_EVERY = 15.0  # seconds between two lines where nothing is drawn
MANY = 20  # pictures; fewer are read before a bar could be seen
MANY_BYTES = 2**26  # as many are hashed in some tenths of a second
ROOM = 50  # characters beside a bar

Tell = Callable[[str], None]
Advance = Callable[[int], None]


def animated(console: Console) -> bool:
    """Whether what is on the terminal may be drawn over: not on a dumb one, nor where NO_COLOR asks for plain text."""
    return console.is_terminal and not console.is_dumb_terminal and not os.environ.get("NO_COLOR")


def say_beside(line: str) -> None:
    """Print one line on stderr; if nobody takes it, it is lost."""
    with contextlib.suppress(OSError):
        say(line, err=True)


def terminal_may_go() -> contextlib.suppress:
    """In this block a bar is drawn. Where its terminal has gone, that ends no work."""
    return contextlib.suppress(OSError)


@contextmanager
def drawn(progress: Progress) -> Iterator[Progress]:
    """Draw `progress` in this block. Where its terminal goes meanwhile, the work goes on."""
    with terminal_may_go():
        progress.start()
    try:
        yield progress
    finally:
        with terminal_may_go():
            progress.stop()


class LeftColumn(ProgressColumn):
    """The time left beside a bar.

    Args:
        seconds_left: after so many seconds; None: that is not known yet.
    """

    def __init__(self, seconds_left: Callable[[float], float | None]) -> None:
        super().__init__()
        self._seconds_left = seconds_left

    def render(self, task: Task) -> Text:
        """The cell."""
        return Text("" if task.finished else f"{duration(self._seconds_left(task.elapsed or 0.0))} left")


def bars(console: Console, *columns: ProgressColumn | str, hidden: bool = False, transient: bool = False) -> Progress:
    """Bars on `console` that fit it: what is done, a bar, `columns`. Where nothing is drawn over, there is none."""
    what, bar = TextColumn("{task.description}", markup=False), BarColumn(max(10, min(40, console.width - ROOM)))
    disable = hidden or not animated(console)
    return Progress(what, bar, *columns, console=console, transient=transient, redirect_stdout=False, disable=disable)


def stderr_console() -> Console:
    """Stderr, for texts that may come from others."""
    return Console(stderr=True, markup=False, emoji=False)


def reading(count: int, tell: Tell = say_beside) -> AbstractContextManager[Advance]:
    """Shown while `count` pictures are read; gives what is called with how many more are. `tell` takes plain lines."""
    columns = (MofNCompleteColumn(), "pictures", TimeRemainingColumn())
    return _shown("reading", count, MANY, columns, lambda done: f"read {done} of {count} pictures", tell)


def classifying(count: int, tell: Tell = say_beside) -> AbstractContextManager[Advance]:
    """Shown while `count` images are classified; gives what is called with how many more are."""
    columns = (MofNCompleteColumn(), "images", TimeRemainingColumn())
    return _shown("classifying", count, MANY, columns, lambda done: f"classified {done} of {count} images", tell)


def writing(count: int, tell: Tell = say_beside) -> AbstractContextManager[Advance]:
    """Shown while `count` pictures are written; gives what is called with how many more are."""
    columns = (MofNCompleteColumn(), "pictures", TimeRemainingColumn())
    return _shown("writing", count, MANY, columns, lambda done: f"wrote {done} of {count} pictures", tell)


@contextmanager
def simulating(steps: int) -> Iterator[tuple[Advance, Tell]]:
    """A bar while `steps` of all learners are simulated, if stderr is a terminal.

    It gives what is called with how many more are done, and what says a line on stdout that cuts through no bar.
    """
    progress = bars(stderr_console(), MofNCompleteColumn(), "steps", TimeRemainingColumn(), transient=True)
    task = progress.add_task("simulating", total=steps)

    def advance(count: int) -> None:
        with terminal_may_go():
            progress.start()  # not before: pictures are read first, with a bar of their own
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
    """Shown while a public file of `size` bytes is read and hashed; gives what is called with the number of bytes."""

    def text(done: int) -> str:
        return f"hashed {bytes_text(done)} of {bytes_text(size)} of the public file"

    return _shown("hashing the public file", size, MANY_BYTES, (DownloadColumn(), TimeRemainingColumn()), text, tell)


def fetching(size: int, tell: Tell = say_beside) -> AbstractContextManager[Advance]:
    """Shown while a public file is fetched, of `size` bytes, 0: not known; gives what is called with their number."""

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
    """A bar from the first advance on, if `total` is at least `least`; without a bar the lines of `text`."""
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
    """Shown while work of several kinds is done; gives what is called with the name of each as it begins."""
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
    """The `Decoding` of commands: in worker processes where that pays, shown by `reading` and `hashing`."""
    from edgekd.data.decoding import Decoding

    return Decoding(workers=None, watch=partial(reading, tell=tell), watch_bytes=partial(hashing, tell=tell))
