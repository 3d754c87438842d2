"""Live progress: a table on a terminal, plain lines elsewhere."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from edgekd.cli.columns import Column, fitted
from edgekd.cli.lines import say, stdout
from edgekd.cli.tables import accuracy_on, bytes_text, plain_console, steps_text
from edgekd.printable import printable

PLAIN_EVERY = 5.0  # seconds between two plain lines of one peer
PICTURES_EVERY = 15.0  # seconds between two plain lines of how many pictures were read
MANY = 20  # pictures; fewer are read before a bar could be seen


def mute_stdout() -> None:
    """Write no further to a stdout that takes nothing any more, not at the interpreter's end either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stdout().fileno())


@contextmanager
def unheard() -> Iterator[None]:
    """What is written to stdout in this block may be lost: that is no reason to stop training."""
    try:
        yield
    except BrokenPipeError:  # nobody reads any more
        mute_stdout()
    except OSError:  # a full disk, a terminal that has gone
        pass


@contextmanager
def last_words() -> Iterator[None]:
    """In this block a command says how it ended, which its folder holds, too.

    If the terminal has gone, or stdout goes to a full disk, that is no error, and nothing more is written there.
    """
    try:
        yield
    except OSError:
        mute_stdout()


def duration(seconds: float | None) -> str:
    """``0:01:30``; None: that is not known yet."""
    return "-:--:--" if seconds is None else str(timedelta(seconds=round(seconds)))


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


def say_beside(line: str) -> None:
    """Print one line on stderr; if nobody takes it, it is lost."""
    with contextlib.suppress(OSError):
        say(line, err=True)


@contextmanager
def reading(count: int, tell: Callable[[str], None] = say_beside) -> Iterator[Callable[[], None]]:
    """A bar on stderr while `count` pictures are read. Where stderr is no terminal, a line for `tell` now and then.

    It gives what is called after each picture.
    """
    console = Console(stderr=True, markup=False, emoji=False)
    if count < MANY or not console.is_terminal:
        yield _plainly(count, tell)
        return
    columns = (BarColumn(), MofNCompleteColumn(), "pictures", TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=count)
        yield lambda: bar.advance(task)


def _plainly(count: int, tell: Callable[[str], None]) -> Callable[[], None]:
    done, told_at = 0, time.monotonic()

    def advance() -> None:
        nonlocal done, told_at
        done += 1
        if time.monotonic() - told_at >= PICTURES_EVERY and done < count:
            told_at = time.monotonic()
            tell(f"read {done} of {count} pictures")

    return advance


def decoding(tell: Callable[[str], None] = say_beside) -> Any:
    """The `Decoding` of commands: in worker processes where that pays, shown by `reading`."""
    from edgekd.data.decoding import Decoding

    return Decoding(workers=None, watch=partial(reading, tell=tell))


class _Dead:
    """The last progress of a peer that has died."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress

    def __getattr__(self, name: str) -> Any:
        return "dead" if name == "state" else getattr(self._progress, name)


class Screen:
    """Shows the latest progress of some peers.

    Args:
        title: what is going on.
    """

    def __init__(self, title: str = "") -> None:
        self._console, self._title = plain_console(), title
        self._latest: dict[int, Any] = {}
        self._plain_at: dict[int, float] = {}
        self._live: Live | None = None

    @property
    def live(self) -> bool:
        """Whether there is a table on the terminal now, which other lines must not cut through."""
        return self._live is not None

    def show(self, progress: Any) -> None:
        """Take in one peer's `Progress`."""
        before = self._latest.get(progress.id)
        self._latest[progress.id] = progress
        with unheard():
            self._show(progress, before)

    def _show(self, progress: Any, before: Any) -> None:
        if not self._console.is_terminal:
            self._plain(progress, before)
            return
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(self._table(), refresh=True)

    def lost(self, id: int) -> None:
        """A peer has died."""
        if id in self._latest:
            self._latest[id] = _Dead(self._latest[id])
            if self._live is not None:
                with unheard():
                    self._live.update(self._table(), refresh=True)

    def log(self, line: str) -> None:
        """Print a line above the table."""
        if self._live is None:
            say_beside(line)
        else:
            with unheard():
                self._live.console.print(printable(line))

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            with unheard():
                self._live.stop()
            self._live = None

    def _plain(self, progress: Any, before: Any) -> None:
        now = time.monotonic()
        news = before is None or before.state != progress.state or before.accuracy != progress.accuracy
        if not news and now - self._plain_at.get(progress.id, 0.0) < PLAIN_EVERY:
            return
        self._plain_at[progress.id] = now
        names = [column.title for column in _COLUMNS]
        cells = (f"{name} {cell}" for name, cell in zip(names[1:], _row(progress)[1:], strict=True) if cell != "-")
        say(f"peer {progress.id}: " + ", ".join(cells))

    def _table(self) -> Table:
        rows = [_row(progress) for _, progress in sorted(self._latest.items())]
        return fitted(_COLUMNS, [rows], self._console, self._title or None)


_COLUMNS = (
    Column("peer", justify="left"),
    Column("state", justify="left"),
    Column("step"),
    Column("loss", 2),
    Column("distil", 5),
    Column("accuracy"),
    Column("neighbours up", 1),
    Column("age", 4),
    Column("sent", 3),
    Column("received", 6),
)


def _row(progress: Any) -> list[str]:
    def number(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    return [
        str(progress.id),
        progress.state,
        steps_text(progress.step, progress.steps),
        number(progress.labels, 3),
        number(progress.distil, 4),
        accuracy_on(progress.accuracy, progress.evaluation_samples),
        str(progress.up),
        "-" if progress.age is None else str(progress.age),
        bytes_text(progress.bytes_sent),
        bytes_text(progress.bytes_received),
    ]
