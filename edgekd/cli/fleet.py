"""Peers of this machine as child processes: starts, watches and stops them."""

import contextlib
import json
import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import edgekd
from edgekd.errors import ConfigError
from edgekd.workers import at_once
from peer.transports.binding import check_bindable

# A child must import the same modules as this process. `python -m` would search the working folder first, which may
# hold a random.py; the option against that needs Python 3.11.
_MAIN = "import sys; sys.path[:] = [*filter(None, sys.path), {root!r}]; from edgekd.cli import main; main()"
READ_TIMEOUT = 5.0  # seconds for the last lines of a child that has ended
STOP_TIMEOUT = 8.0  # seconds from SIGTERM to SIGKILL; a peer ends within 5, with --timing wan within 7


@dataclass(frozen=True, slots=True)
class Event:
    """A line of a child's output, or the end of the child."""

    id: int
    progress: Any | None = None  # an object with the attributes of `peer.node.progress.Progress`
    log: str | None = None  # a line of its stderr, or of its stdout if it is no JSON
    code: int | None = None  # its exit code, once it has ended


def free_ports(count: int) -> list[int]:
    """Find `count` free TCP ports of 127.0.0.1, in ascending order.

    They lie below the ports that systems use for outgoing connections, which may be taken before a peer listens.
    """
    numbers: set[int] = set()
    while len(numbers) < count:
        port = 10_000 + secrets.randbelow(22_000)
        with contextlib.suppress(ConfigError):
            check_bindable(f"127.0.0.1:{port}")
            numbers.add(port)
    return sorted(numbers)


class Fleet:
    """A context manager that runs one ``edgekd peer`` for each client, on ports of 127.0.0.1.

    `addresses` are those of the children, by id. `events` is a queue of what the children print and of their ends.
    Signal handlers may put the signals of this process into it, too: the queue is safe for that.

    Args:
        config: the file with all settings.
        folder: of the run; ``peer-I`` in it is the ``--out`` of peer I.
        neighbours: for each peer the ids of its neighbours.
        wait_for: how many neighbours each peer waits for, at most as many as it has; None: all.
        model: the value of ``--model``. It is needed, since a settings file alone may not name a user's code.
    """

    def __init__(
        self, config: Path, folder: Path, neighbours: Sequence[Sequence[int]], wait_for: int | None, model: str
    ) -> None:
        self.events: queue.SimpleQueue[Event | signal.Signals] = queue.SimpleQueue()
        self._config, self._folder, self._neighbours, self._wait_for = config, folder, neighbours, wait_for
        self._model = model
        self.addresses: list[str] = []  # by id
        self._children: dict[int, subprocess.Popen[str]] = {}
        # joblib's `cpu_count` reads this variable: the cores of one peer, for worker processes that it starts itself.
        self._environment = {"LOKY_MAX_CPU_COUNT": str(at_once(len(neighbours)))}

    def __enter__(self) -> "Fleet":
        """Start the peers.

        Raises:
            ConfigError: not all peers could be started; those that were are stopped.
        """
        try:
            self.addresses = [f"127.0.0.1:{port}" for port in free_ports(len(self._neighbours))]
            for id in range(len(self.addresses)):
                self._begin(id, self._command(id, self.addresses))
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError | RuntimeError):  # a limit on open files, processes or threads
                begun, wanted = len(self._children), len(self._neighbours)
                raise ConfigError(
                    f"only {begun} of {wanted} peers could be started: {error}; use fewer --clients, or raise the "
                    "limits of this machine (ulimit -n, ulimit -u)"
                ) from error
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _command(self, id: int, addresses: Sequence[str]) -> list[str]:
        others = [addresses[other] for other in self._neighbours[id]]
        wanted = len(others) if self._wait_for is None else min(self._wait_for, len(others))
        command = ["peer", "--config", str(self._config), "--id", str(id), "--json", "--listen", addresses[id]]
        command += ["--peers", ",".join(others), "--wait-for", str(wanted)]
        return [*command, "--model", self._model, "--out", str(self._folder / f"peer-{id}")]

    def _begin(self, id: int, command: list[str]) -> None:
        self._children[id] = _start(command, self._environment)
        pipes = ("stdout", "stderr")
        readers = [threading.Thread(target=self._read, args=(id, pipe), daemon=True) for pipe in pipes]
        for reader in readers:
            reader.start()
        threading.Thread(target=self._wait, args=(id, readers), daemon=True).start()

    def pause(self) -> None:
        """Stop this process and the children with SIGSTOP, until this process gets SIGCONT."""
        self.tell(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self.tell(signal.SIGCONT)

    def tell(self, number: int) -> None:
        """Send a signal to every child that runs. A signal handler may call this."""
        for child in list(self._children.values()):  # a copy: a handler may interrupt the start of another child
            if child.poll() is None:
                child.send_signal(number)

    def stop(self) -> None:
        """Ask every child to end, and kill those that have not ended after `STOP_TIMEOUT` seconds; idempotent."""
        self.tell(signal.SIGTERM)
        self.tell(signal.SIGCONT)  # a stopped process handles no SIGTERM
        deadline = time.monotonic() + STOP_TIMEOUT
        for child in self._children.values():
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def kill(self) -> None:
        """Kill every child at once. What they have not written is lost."""
        self.tell(signal.SIGKILL)

    def _read(self, id: int, pipe: str) -> None:
        stream: IO[str] = getattr(self._children[id], pipe)
        for line in stream:
            content = _parsed(line) if pipe == "stdout" else None
            if content is None:
                self.events.put(Event(id, log=line.rstrip("\n")))
            elif content.pop("event") == "progress":
                self.events.put(Event(id, progress=SimpleNamespace(**content)))

    def _wait(self, id: int, readers: list[threading.Thread]) -> None:
        code = self._children[id].wait()
        for reader in readers:  # its last lines come before the event of its end
            reader.join(READ_TIMEOUT)
        self.events.put(Event(id, code=code))


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) and "event" in content else None


def _start(command: list[str], environment: dict[str, str]) -> "subprocess.Popen[str]":
    # The children get a session of their own, so that Ctrl-C and Ctrl-Z of the terminal reach only this process.
    return subprocess.Popen(
        [sys.executable, "-c", _MAIN.format(root=str(Path(edgekd.__file__).parents[1])), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",  # for any bytes of a library: if the reading failed, the child would block
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    )
