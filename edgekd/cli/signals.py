"""What ends or pauses a command from outside: Ctrl-C, SIGTERM, SIGHUP where a terminal has gone, and Ctrl-Z.

What was ignored when the process began stays ignored: SIGHUP under nohup, SIGINT in a background job of a script.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, NoReturn

import click

from edgekd.cli.lines import say
from edgekd.cli.logs import message_line
from edgekd.exit_codes import ExitCode

PATIENCE = 5.0  # seconds after the first request in which no other one ends a process at once

Obey = Callable[[signal.Signals], object]


class Stop:
    """Whether this process has been told to end, by SIGINT, SIGTERM or SIGHUP.

    The first request is obeyed. A second one changes nothing: what has been reached is being written. The third ends
    the process at once, unless it comes within `PATIENCE` seconds of the first.
    """

    def __init__(self) -> None:
        self.asked = False
        self._count, self._first = 0, 0.0
        self._obey: Obey = _interrupt
        self._at_once: Callable[[], object] = lambda: None

    def __call__(self) -> bool:
        return self.asked

    def hand_to(self, obey: Obey, at_once: Callable[[], object] = lambda: None) -> None:
        """From now on the first request calls `obey`, where it raised KeyboardInterrupt before.

        Both functions are called in the middle of whatever the main thread does.

        Args:
            obey: takes the first request.
            at_once: called before the third request ends the process.
        """
        self._obey, self._at_once = obey, at_once

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Take a request; a signal handler."""
        now = time.monotonic()
        self._count += 1
        if not self.asked:
            self.asked, self._first = True, now
            self._obey(signal.Signals(number))
        elif self._count > 2 and now - self._first > PATIENCE:
            self._at_once()
            with contextlib.suppress(OSError):
                os.write(2, b"edgekd: ended at once\n")
            os._exit(128 + number)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """In this block requests to end go to a `Stop`; after one, further ones are ignored when the block ends."""
    stop = Stop()
    before = {number: signal.signal(number, stop.on_signal) for number in _ends()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if stop.asked else handler)


@contextmanager
def pausable(pause: Obey) -> Iterator[None]:
    """In this block Ctrl-Z (SIGTSTP) calls `pause`, in the middle of whatever the main thread does."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        pause(signal.Signals(number))

    with _handled(_obeyed("SIGTSTP"), on_signal):
        yield


class Pause:
    """Whether this process has been told to take no step: from SIGUSR1 to SIGUSR2, where the system has these signals.

    Unlike Ctrl-Z (`pausable`), which stops processes where they are, it leaves a peer its heartbeats and answers.
    """

    def __init__(self) -> None:
        self._asked = False

    def listen(self) -> None:
        """Handle the two signals, which would else end the process; idempotent."""
        for name, asked in (("SIGUSR1", True), ("SIGUSR2", False)):
            for number in _obeyed(name):
                signal.signal(number, partial(self._on_signal, asked))

    def __call__(self) -> bool:
        return self._asked

    def _on_signal(self, asked: bool, number: int, frame: FrameType | None) -> None:
        self._asked = asked


PAUSE = Pause()  # of this process


@contextmanager
def passing_on(tell: Callable[[int], object]) -> Iterator[None]:
    """In this block the two signals of a `Pause` are handed to `tell`, in the middle of what the main thread does."""
    with _handled(_obeyed("SIGUSR1", "SIGUSR2"), lambda number, frame: tell(number)):
        yield


def end_stopped(line: str) -> NoReturn:
    """End a command that was told to: say `line`, unless its terminal has gone, and exit as after Ctrl-C."""
    with contextlib.suppress(OSError):
        say(f"edgekd: {line}", err=True)
    raise click.exceptions.Exit(ExitCode.STOPPED)


def on_stop(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> None:
    """Have SIGINT, SIGTERM and SIGHUP handled so, but for those that are ignored."""
    for number in _ends():
        signal.signal(number, handler)


def stop_early(number: int, frame: FrameType | None) -> NoReturn:
    """End a process that has nothing to write yet; a signal handler.

    At once: an exception might come up where it is swallowed, and the interpreter's end takes seconds, in which another
    signal would kill.
    """
    with contextlib.suppress(OSError):
        os.write(2, f"{message_line('INFO', 'edgekd: stopped before it began')}\n".encode())
    os._exit(ExitCode.DONE)


@contextmanager
def _handled(numbers: list[signal.Signals], handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """In this block `handler` takes these signals."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _interrupt(number: signal.Signals) -> None:
    raise KeyboardInterrupt


def _ends() -> list[signal.Signals]:
    return [signal.SIGTERM, *_obeyed("SIGINT", "SIGHUP")]


def _obeyed(*names: str) -> list[signal.Signals]:
    """Those of these signals that this system has and this process does not ignore."""
    found = [number for number in signal.Signals if number.name in names]
    return [number for number in found if signal.getsignal(number) is not signal.SIG_IGN]
