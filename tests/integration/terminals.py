"""Runs ``edgekd`` on a real terminal of a given width, and records what it writes there."""

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len

DEADLINE = 240.0  # seconds, far more than anything here takes
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-Z\\-_]")
_DRAWN_OVER = re.compile(r"\x1b\[\d*A")  # the cursor goes up


@dataclass(frozen=True)
class Shown:
    """The output of a command on its terminal."""

    code: int  # its exit code
    text: str
    out: str  # its stdout, if that was a file

    @property
    def drawn_over(self) -> bool:
        """Whether the cursor has ever gone up, to overwrite a line."""
        return _DRAWN_OVER.search(self.text) is not None

    @property
    def lines(self) -> list[str]:
        """All lines in the order in which they were written, also overwritten ones, without control sequences."""
        return re.split(r"[\r\n]+", _CONTROL.sub("", self.text))

    @property
    def width(self) -> int:
        """The width of the widest line, in cells."""
        return max(map(cell_len, self.lines))

    @property
    def last(self) -> list[str]:
        """The lines after the last time that the cursor has gone up."""
        return re.split(r"[\r\n]+", _CONTROL.sub("", _DRAWN_OVER.split(self.text)[-1]).strip())


def on_terminal(
    arguments: Sequence[object], folder: Path, columns: int, *, stdout: Path | None = None, **environment: str
) -> Shown:
    """Run ``edgekd ARGUMENTS...`` on a terminal until it ends.

    Args:
        arguments: of the command.
        folder: its working folder.
        columns: width of the terminal.
        stdout: a file for stdout; None: the terminal.
        environment: variables to add to those of this process, without the latter's settings of terminals.
    """
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    kept = {n: v for n, v in os.environ.items() if n not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")}
    code = "from edgekd.cli import main; main()"
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            fcntl.ioctl(its, termios.TIOCSCTTY, 0)
            for descriptor in (0, 1, 2):
                os.dup2(its, descriptor)
            if stdout is not None:
                os.dup2(os.open(stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 1)
            os.chdir(folder)
            os.execve(
                sys.executable,
                [sys.executable, "-c", code, *map(str, arguments)],
                {**kept, "TERM": "xterm", **environment},
            )
        finally:
            os._exit(127)
    os.close(its)
    said, ends = b"", time.monotonic() + DEADLINE
    try:
        while True:
            ready, _, _ = select.select([ours], [], [], max(0.0, ends - time.monotonic()))
            assert ready, f"no end within {DEADLINE} s: {said.decode(errors='replace')}"
            try:
                chunk = os.read(ours, 2**16)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            said += chunk
    finally:
        os.close(ours)  # a process that still runs gets SIGHUP
        _, status = os.waitpid(pid, 0)
    return Shown(os.waitstatus_to_exitcode(status), said.decode(), stdout.read_text() if stdout else "")
