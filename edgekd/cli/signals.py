"""What ends a command from outside: Ctrl-C, SIGTERM, and SIGHUP where a terminal has gone."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def terminable() -> Iterator[None]:
    """In this block SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does; an ignored SIGHUP stays ignored."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _ends()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def pausable(pause: Callable[[], None], go_on: Callable[[], None]) -> Iterator[None]:
    """In this block Ctrl-Z (SIGTSTP) calls `pause` before this process stops, and `go_on` once it continues."""

    def stop(number: int, frame: FrameType | None) -> None:
        pause()
        os.kill(os.getpid(), signal.SIGSTOP)
        go_on()

    if not hasattr(signal, "SIGTSTP"):  # Windows
        yield
        return
    before = signal.signal(signal.SIGTSTP, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


def _ends() -> list[signal.Signals]:
    """SIGTERM, and SIGHUP unless it is ignored, as under nohup, or not there, as on Windows."""
    hangups = [number for number in signal.Signals if number.name == "SIGHUP"]
    return [signal.SIGTERM, *(number for number in hangups if signal.getsignal(number) is not signal.SIG_IGN)]


def on_stop(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> None:
    """Have SIGINT, SIGTERM and SIGHUP handled so; a SIGHUP that is ignored, as under nohup, stays ignored."""
    for number in (signal.SIGINT, *_ends()):
        signal.signal(number, handler)
