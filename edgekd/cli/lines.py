"""The one way from commands to stdout and stderr: a line at a time, whatever is in it, in any encoding."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from edgekd.printable import printable

_kept: TextIO | None = None  # stdout, while `sys.stdout` is stderr


def prepare_streams() -> None:
    """Open the standard streams that are closed, and show what a stream's encoding lacks as ``\\xb1`` and the like.

    Where one of the first three descriptors is closed, the next file that is opened would take its place.
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
    """In this block stdout is for `stdout`, `say` and `say_lines`: what other code prints goes to stderr.

    Other code is the user's own, and libraries such as torchvision.
    """
    global _kept
    before = _kept, sys.stdout
    _kept, sys.stdout = stdout(), sys.stderr
    try:
        yield
    finally:
        _kept, sys.stdout = before


def stdout() -> TextIO:
    """Where results go."""
    return _kept or sys.stdout


def say(text: str, *, err: bool = False) -> None:
    """Print one line on stdout, or on stderr, at once."""
    print(printable(text), file=sys.stderr if err else stdout(), flush=True)


def say_lines(text: str) -> None:
    """Print text of several lines on stdout, at once; the caller sees to it that all of it can be printed."""
    print(text, file=stdout(), flush=True)
