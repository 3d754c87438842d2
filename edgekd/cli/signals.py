"""Signals that end or pause a command: Ctrl-C, SIGTERM, SIGHUP (the terminal was closed), Ctrl-Z, SIGUSR1 and SIGUSR2.

A signal that was ignored when the process began stays ignored: SIGHUP under nohup, SIGINT in a background job of a
script.
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

PATIENCE = 5.0  # seconds after the first request in which a third one does not end the process at once

Obey = Callable[[signal.Signals], object]


class Stop:
    """The requests to end this process, by SIGINT, SIGTERM or SIGHUP; calling it returns whether there was one.

    The first request makes the command end in order. A second one changes nothing, since the results are being written.
    A third or later one ends the process at once, unless it comes within `PATIENCE` seconds of the first.
    """

    def __init__(self) -> None:
        self.asked = False
        self._count, self._first = 0, 0.0
        self._obey: Obey = _interrupt
        self._at_once: Callable[[], object] = lambda: None

    def __call__(self) -> bool:
        return self.asked

    def hand_to(self, obey: Obey, at_once: Callable[[], object] = lambda: None) -> None:
        """Let the first request call `obey`; without this it raises KeyboardInterrupt.

        Both functions are called from a signal handler: they interrupt whatever the main thread does.

        Args:
            obey: called with the signal of the first request.
            at_once: called just before a later request ends the process at once.
        """
        self._obey, self._at_once = obey, at_once

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Count and handle a request to end. This is a signal handler."""
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
    """Inside the block, pass requests to end to a `Stop`. If there was one, later ones are ignored after the block."""
    stop = Stop()
    before = {number: signal.signal(number, stop.on_signal) for number in _ends()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if stop.asked else handler)


@contextmanager
def pausable(pause: Obey) -> Iterator[None]:
    """Inside the block, let Ctrl-Z (SIGTSTP) call `pause` from a signal handler."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        pause(signal.Signals(number))

    with _handled(_obeyed("SIGTSTP"), on_signal):
        yield


class Pause:
    """The state of a pause, from SIGUSR1 until SIGUSR2 (if the system has them); calling it returns whether it lasts.

    Ctrl-Z (`pausable`) stops whole processes. A paused peer takes no steps, but still sends heartbeats and answers.
    """

    def __init__(self) -> None:
        self._asked = False

    def listen(self) -> None:
        """Install the handlers of the two signals, which would else end the process; idempotent."""
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
    """Inside the block, pass the numbers of SIGUSR1 and SIGUSR2 to `tell`, from a signal handler."""
    with _handled(_obeyed("SIGUSR1", "SIGUSR2"), lambda number, frame: tell(number)):
        yield


def end_stopped(line: str) -> NoReturn:
    """End a command that was told to stop: print `line`, unless the terminal was closed, and exit as after Ctrl-C."""
    with contextlib.suppress(OSError):
        say(f"edgekd: {line}", err=True)
    raise click.exceptions.Exit(ExitCode.STOPPED)


def on_stop(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> None:
    """Set the handler of SIGINT, SIGTERM and SIGHUP, except for those that are ignored."""
    for number in _ends():
        signal.signal(number, handler)


def stop_early(number: int, frame: FrameType | None) -> NoReturn:
    """End a process that has nothing to write yet. This is a signal handler.

    It does not raise an exception: that might be swallowed, and the interpreter takes seconds to end, in which another
    signal would kill the process.
    """
    with contextlib.suppress(OSError):
        os.write(2, f"{message_line('INFO', 'edgekd: stopped before it began')}\n".encode())
    os._exit(ExitCode.DONE)


@contextmanager
def _handled(numbers: list[signal.Signals], handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Inside the block, handle these signals with `handler`."""
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
    """The signals with these names that this system has and this process does not ignore."""
    found = [number for number in signal.Signals if number.name in names]
    return [number for number in found if signal.getsignal(number) is not signal.SIG_IGN]
