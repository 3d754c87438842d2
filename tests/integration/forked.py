"""``edgekd`` processes forked off one that has loaded torch already: they start in a tenth of the time.

They are processes like any other but for what an interpreter does before ``main()`` and after it. Whole ones are
started by the faults' tests, and by ``edgekd run``.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

PRELOADED = ["peer.node.node", "edgekd.simulation.groups", "edgekd.cli.run", "torch._dynamo"]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(PRELOADED)


class Forked:
    """``edgekd ARGUMENTS...`` with its two streams; as much of ``subprocess.Popen`` as the tests need.

    Args:
        arguments: of the command. Its environment is this process's.
        folder: its working folder.
        ignored: signals that it ignores from its start.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, ignored: Sequence[signal.Signals] = ()) -> None:
        out, its_out = _context.Pipe(duplex=False)
        err, its_err = _context.Pipe(duplex=False)
        self._process = _context.Process(
            target=_run, args=(list(arguments), folder, dict(os.environ), ignored, its_out, its_err)
        )
        self._process.start()
        its_out.close()
        its_err.close()
        self.stdout, self.stderr = _text(out), _text(err)
        assert self._process.pid is not None
        self.pid = self._process.pid
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            while os.getpgid(self.pid) != self.pid:  # until it leads a group of its own it cannot be killed whole
                time.sleep(0.001)

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("edgekd", timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _text(connection: multiprocessing.connection.Connection) -> TextIO:
    with connection:
        return os.fdopen(os.dup(connection.fileno()), encoding="utf-8")


def _run(
    arguments: list[str],
    folder: Path,
    environment: dict[str, str],
    ignored: Sequence[signal.Signals],
    out: multiprocessing.connection.Connection,
    err: multiprocessing.connection.Connection,
) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits that it is ignored
    for each in (signal.SIGHUP, signal.SIGTSTP):  # and one under nohup that this is
        signal.signal(each, signal.SIG_DFL)
    for each in ignored:
        signal.signal(each, signal.SIG_IGN)
    for connection, number in ((out, 1), (err, 2)):
        os.dup2(connection.fileno(), number)
        connection.close()
    os.chdir(folder)
    warnings.simplefilter("default")
    from edgekd.cli import main

    try:
        main(arguments)
    finally:  # an interpreter waits for its threads before it tidies up; multiprocessing does so afterwards
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
