"""Live progress of peers: a table on a terminal, plain lines elsewhere."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.live import Live
from rich.table import Table

from edgekd.cli.bars import animated, say_beside
from edgekd.cli.columns import Column, fitted
from edgekd.cli.curve import Curve
from edgekd.cli.lines import say, stdout
from edgekd.cli.tables import accuracy_on, plain_console
from edgekd.printable import printable
from edgekd.protocol.amounts import bytes_text, duration, seconds_left, steps_text

PLAIN_EVERY = 5.0  # seconds between two plain lines of one peer


def mute_stdout() -> None:
    """Send stdout to the null device, so that nothing more fails to be written, also when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stdout().fileno())


@contextmanager
def unheard() -> Iterator[None]:
    """Inside the block, errors of writing to stdout are ignored, since they are no reason to stop training."""
    try:
        yield
    except BrokenPipeError:  # the reader of the pipe has ended
        mute_stdout()
    except OSError:  # a full disk, a terminal that has gone
        pass


@contextmanager
def last_words() -> Iterator[None]:
    """Around the final output of a command, which its folder holds, too: errors of writing to stdout are ignored.

    After such an error (the terminal is closed, the disk is full) nothing more is written to stdout.
    """
    try:
        yield
    except OSError:
        mute_stdout()


@dataclass(slots=True)
class _Peer:
    """The data for the row of one peer."""

    latest: Any  # its `Progress`
    curve: Curve = field(default_factory=Curve)
    evaluated: int | None = None  # the step of the newest accuracy on the curve
    dead: bool = False

    def take(self, progress: Any) -> None:
        """Update the row with the peer's next progress."""
        if progress.accuracy is not None and progress.accuracy_step != self.evaluated:
            self.curve.add(progress.accuracy)
            self.evaluated = progress.accuracy_step
        self.latest = progress

    def seconds_left(self) -> float | None:
        """Seconds until the peer has done its steps; None: unknown, or its steps have no end."""
        now = self.latest
        if self.dead:
            return None
        return seconds_left(step=now.step, steps=now.steps, first_step=now.first_step, seconds=now.seconds)


class Screen:
    """Shows the latest progress of one or more peers.

    Args:
        title: of the table.
    """

    def __init__(self, title: str = "") -> None:
        self._console, self._title = plain_console(), title
        self._peers: dict[int, _Peer] = {}
        self._plain_at: dict[int, float] = {}
        self._live: Live | None = None

    @property
    def live(self) -> bool:
        """Whether a table is on the terminal now. Then other lines must be printed with `log`."""
        return self._live is not None

    def show(self, progress: Any) -> None:
        """Show the progress of one peer.

        Args:
            progress: a `peer.node.progress.Progress`, or an object with the same attributes.
        """
        peer = self._peers.get(progress.id)
        before = None if peer is None else peer.latest
        if peer is None:
            peer = self._peers[progress.id] = _Peer(progress)
        peer.take(progress)
        with unheard():
            self._show(peer, before)

    def _show(self, peer: _Peer, before: Any) -> None:
        if not animated(self._console):
            self._plain(peer, before)
            return
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(self._table(), refresh=True)

    def lost(self, id: int) -> None:
        """Show peer `id` as dead."""
        if id in self._peers:
            self._peers[id].dead = True
            if self._live is not None:
                with unheard():
                    self._live.update(self._table(), refresh=True)

    def log(self, line: str) -> None:
        """Print a line above the table, or on stderr if there is none."""
        if self._live is None:
            say_beside(line)
        else:
            with unheard():
                self._live.console.print(printable(line))

    def close(self) -> None:
        """Stop drawing; the last table stays on the terminal."""
        if self._live is not None:
            with unheard():
                self._live.stop()
            self._live = None

    def _plain(self, peer: _Peer, before: Any) -> None:
        now, progress = time.monotonic(), peer.latest
        news = before is None or before.state != progress.state or before.accuracy_step != progress.accuracy_step
        if not news and now - self._plain_at.get(progress.id, 0.0) < PLAIN_EVERY:
            return
        self._plain_at[progress.id] = now
        say(self._line(peer))

    def _line(self, peer: _Peer) -> str:
        """The row of a peer as one line; a narrow terminal gets fewer of its columns."""
        row = zip(_COLUMNS, _row(peer, ascii_only=True), strict=True)
        cells = [(column, cell) for column, cell in row if column not in (_ID, _TREND) and cell != "-"]
        while True:
            line = f"peer {peer.latest.id}: " + ", ".join(f"{column.title} {cell}" for column, cell in cells)
            spare = max(column.rank for column, _ in cells)
            if not self._console.is_terminal or len(line) < self._console.width or spare == 0:
                return line
            cells = [(column, cell) for column, cell in cells if column.rank < spare]

    def _table(self) -> Table:
        ascii_only = self._console.options.ascii_only
        rows = [_row(peer, ascii_only) for _, peer in sorted(self._peers.items())]
        return fitted(_COLUMNS, [rows], self._console, self._title or None)


_ID, _TREND = Column("peer", justify="left"), Column("trend", 2, "left")
_COLUMNS = (
    _ID,
    Column("state", justify="left"),
    Column("step"),
    Column("left", 1),
    Column("loss", 4),
    Column("distil", 7),
    Column("accuracy"),
    _TREND,
    Column("neighbours up", 3),
    Column("age", 6),
    Column("sent", 5),
    Column("received", 8),
)


def _row(peer: _Peer, ascii_only: bool) -> list[str]:
    def number(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    progress, left = peer.latest, peer.seconds_left()
    return [
        str(progress.id),
        "dead" if peer.dead else progress.state,
        steps_text(progress.step, progress.steps),
        duration(left),
        number(progress.labels, 3),
        number(progress.distil, 4),
        accuracy_on(progress.accuracy, progress.evaluation_samples),
        peer.curve.text(ascii_only=ascii_only),
        str(progress.up),
        "-" if progress.age is None else str(progress.age),
        bytes_text(progress.bytes_sent),
        bytes_text(progress.bytes_received),
    ]
