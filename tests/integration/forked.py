"""``edgekd`` processes that are forked from one that has loaded torch: they start in a tenth of the time.

They differ from ordinary processes only in what an interpreter does before ``main()`` and after it. The tests of faults
start ordinary processes, and so does ``edgekd run``, except where a test asks for forked peers.
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

from waiting import check_all_taken, wait_for_commands

PRELOADED = ["peer.node.node", "edgekd.simulation.groups", "edgekd.cli.run", "torch._dynamo"]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(PRELOADED)


class Forked:
    """A process ``edgekd ARGUMENTS...`` with pipes for stdout and stderr, a small ``subprocess.Popen``.

    Args:
        arguments: of the command. The process gets the environment of this one.
        folder: its working folder.
        ignored: signals that the process ignores from its start.
        forked_peers: of ``edgekd run``: how many of its peers are forked, too.
    """

    def __init__(
        self, arguments: Sequence[str], folder: Path, ignored: Sequence[signal.Signals] = (), forked_peers: int = 0
    ) -> None:
        out, its_out = _context.Pipe(duplex=False)
        err, its_err = _context.Pipe(duplex=False)
        how = (list(arguments), folder, dict(os.environ), ignored, forked_peers)
        self._process = _context.Process(target=_run, args=(*how, its_out, its_err))
        self._process.start()
        its_out.close()
        its_err.close()
        self.stdout, self.stderr = _text(out), _text(err)
        assert self._process.pid is not None
        self.pid = self._process.pid
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            while os.getpgid(self.pid) != self.pid:  # wait for its own group, to kill it with its children
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
    forked_peers: int,
    out: multiprocessing.connection.Connection,
    err: multiprocessing.connection.Connection,
) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    for each in (signal.SIGHUP, signal.SIGTSTP):  # the first is ignored under nohup
        signal.signal(each, signal.SIG_DFL)
    for each in ignored:
        signal.signal(each, signal.SIG_IGN)
    for connection, number in ((out, 1), (err, 2)):
        os.dup2(connection.fileno(), number)
        connection.close()
    os.chdir(folder)
    warnings.simplefilter("default")
    if forked_peers:
        wait_for_commands(forked_peers, _main)
    try:
        _main(arguments)
    finally:
        check_all_taken()


def _main(arguments: Sequence[str]) -> None:
    from edgekd.cli import main

    try:
        main(list(arguments))
    finally:  # an interpreter first waits for its threads, multiprocessing only at the end
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
