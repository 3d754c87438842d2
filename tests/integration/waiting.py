"""Processes that have loaded torch and wait to become the peers of ``edgekd run``, instead of new interpreters."""

import json
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

_LONGEST = 2**20  # bytes of a command and its environment
_waiting: list[tuple[int, socket.socket]] = []  # process ids, and where each expects its command


def wait_for_commands(number: int, become: Callable[[Sequence[str]], None]) -> None:
    """Fork `number` processes, and let `subprocess.Popen` hand the next commands of edgekd to them.

    They are children of this process, as new interpreters would be. Call this before the process has any thread.

    Args:
        number: how many. Those that get no command end with this process.
        become: runs a command of edgekd until its end.
    """
    for _ in range(number):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            for each in (ours, *(before for _, before in _waiting)):
                each.close()
            _wait(theirs, become)
        theirs.close()
        _waiting.append((pid, ours))
    subprocess.Popen = _Popen  # type: ignore[misc]


def check_all_taken() -> None:
    """Fail if a waiting process has got no command: then a peer was started as a new interpreter."""
    assert not _waiting, f"{len(_waiting)} of the forked peers were not needed, or not recognised"


def _wait(commands: socket.socket, become: Callable[[Sequence[str]], None]) -> None:
    """Wait for a command, and end with its exit code."""
    code = 1
    try:
        with commands:
            sent, streams, _, _ = socket.recv_fds(commands, _LONGEST, 3)
        if not sent:
            os._exit(0)
        os.setsid()
        arguments, environment = json.loads(sent)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update(environment)
        try:
            become(arguments)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


class _Popen(subprocess.Popen[Any]):
    """A `Popen` that hands commands of edgekd to the waiting processes while there are any."""

    def _execute_child(self, args: Any, *more: Any) -> None:
        command = args if isinstance(args, list) else []
        if not _waiting or len(command) < 3 or not str(command[2]).endswith("from edgekd.cli import main; main()"):
            super()._execute_child(args, *more)  # type: ignore[misc]
            return
        environment, pipes = more[5], more[9:15]
        theirs = [pipes[0], pipes[3], pipes[5]]
        self.pid, commands = _waiting.pop(0)
        with commands:
            socket.send_fds(commands, [json.dumps([command[3:], environment]).encode()], theirs)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]
