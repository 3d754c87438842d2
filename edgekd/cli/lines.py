"""The one way from commands to stdout and stderr: a line at a time, whatever is in it, in any encoding."""

import contextlib
import io
import os
import sys

from edgekd.printable import printable


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


def say(text: str, *, err: bool = False) -> None:
    """Print one line on stdout, or on stderr, at once."""
    print(printable(text), file=sys.stderr if err else sys.stdout, flush=True)
