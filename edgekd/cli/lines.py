"""How commands write to stdout and stderr: whole lines, with any text, in any encoding."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from edgekd.printable import printable

_kept: TextIO | None = None  # the real stdout while `sys.stdout` is replaced by stderr


def prepare_streams() -> None:
    """Open standard streams that are closed, and write characters that an encoding lacks as ``\\xb1`` and the like.

    If one of the first three descriptors were closed, the next file that is opened would get its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):  # its descriptor was replaced by one that cannot seek
                stream.reconfigure(errors="backslashreplace")


@contextmanager
def stdout_for_results() -> Iterator[None]:
    """Inside the block, send what other code prints to stderr; stdout is only for `stdout`, `say` and `say_lines`.

    Other code is the user's own code, and libraries such as torchvision.
    """
    global _kept
    before = _kept, sys.stdout
    _kept, sys.stdout = stdout(), sys.stderr
    try:
        yield
    finally:
        _kept, sys.stdout = before


def stdout() -> TextIO:
    """The stream for results: stdout, also inside `stdout_for_results`."""
    return _kept or sys.stdout


def say(text: str, *, err: bool = False) -> None:
    """Print one line on stdout (or on stderr) without buffering; control characters are escaped."""
    print(printable(text), file=sys.stderr if err else stdout(), flush=True)


def say_lines(text: str) -> None:
    """Print text of several lines on stdout without buffering. The text must hold no control characters of others."""
    print(text, file=stdout(), flush=True)
