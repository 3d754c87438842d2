"""What ends a command from outside: Ctrl-C, SIGTERM, and SIGHUP where a terminal has gone."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def terminable() -> Iterator[None]:
    """In this block SIGTERM raises KeyboardInterrupt, as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: Callable[..., Any] | int | None = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def on_stop(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> None:
    """Have SIGINT, SIGTERM and SIGHUP handled so; a SIGHUP that is ignored, as under nohup, stays ignored."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # Windows has none
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, handler)
