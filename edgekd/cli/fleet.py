"""Peers of this machine as child processes: started, watched, stopped."""

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

# A child imports what this process does. `python -m` would look into the working folder first, where there may be a
# random.py; an option against that came with Python 3.11.
_MAIN = "import sys; sys.path[:] = [*filter(None, sys.path), {root!r}]; from edgekd.cli import main; main()"
READ_TIMEOUT = 5.0  # seconds for the last lines of a child that has ended
STOP_TIMEOUT = 8.0  # seconds from SIGTERM to SIGKILL; a peer is gone within 5, with --timing wan within 7


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a child said, or that it has ended."""

    id: int
    progress: Any | None = None  # a peer's `Progress`, as attributes
    log: str | None = None  # a line of its stderr
    code: int | None = None  # its exit code, once it has ended


def free_ports(count: int) -> list[int]:
    """TCP ports of 127.0.0.1 that nobody listens on now, ascending.

    None of them is a port that systems give to outgoing connections: such a port may be taken before its peer listens.
    """
    numbers: set[int] = set()
    while len(numbers) < count:
        port = 10_000 + secrets.randbelow(22_000)
        with contextlib.suppress(ConfigError):
            check_bindable(f"127.0.0.1:{port}")
            numbers.add(port)
    return sorted(numbers)


class Fleet:
    """One ``edgekd peer`` a client, on ports of 127.0.0.1: started as the block begins, gone when it has ended.

    `addresses` are the children's, by id. `events` holds what they say, that they have ended, and the signals that this
    process is handed: a queue that a signal handler may put into, whatever it has interrupted.

    Args:
        config: the file with all settings.
        folder: the run's; ``peer-I`` in it is that peer's ``--out``.
        neighbours: for each client the ids of those that it hears.
        wait_for: how many of them each waits for, if it has so many; None: for all.
        model: the networks, as ``--model`` takes them; the file's word alone would run no code of the user.
    """

    def __init__(
        self, config: Path, folder: Path, neighbours: Sequence[Sequence[int]], wait_for: int | None, model: str
    ) -> None:
        self.events: queue.SimpleQueue[Event | signal.Signals] = queue.SimpleQueue()
        self._config, self._folder, self._neighbours, self._wait_for = config, folder, neighbours, wait_for
        self._model = model
        self.addresses: list[str] = []  # of the peers, by id
        self._children: dict[int, subprocess.Popen[str]] = {}
        # What joblib's `cpu_count` reads: the cores of one peer, for what it starts itself.
        self._environment = {"LOKY_MAX_CPU_COUNT": str(at_once(len(neighbours)))}

    def __enter__(self) -> "Fleet":
        """Start the peers.

        Raises:
            ConfigError: not all can be started; none is left behind.
        """
        try:
            self.addresses = [f"127.0.0.1:{port}" for port in free_ports(len(self._neighbours))]
            for id in range(len(self.addresses)):
                self._begin(id, self._command(id, self.addresses))
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError | RuntimeError):  # no file or no thread is left for one more
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
        """Stop this process and the children, where they are, until this process is told to go on."""
        self.tell(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self.tell(signal.SIGCONT)

    def tell(self, number: int) -> None:
        """Send a signal to every child; a signal handler may call it."""
        for child in list(self._children.values()):  # a handler may interrupt the start of one more
            if child.poll() is None:
                child.send_signal(number)

    def stop(self) -> None:
        """Ask every child to end, and end those that do not; idempotent."""
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
        """End every child at once; what they have not written is lost."""
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
        for reader in readers:  # what it said last comes before the news that it has ended
            reader.join(READ_TIMEOUT)
        self.events.put(Event(id, code=code))


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) and "event" in content else None


def _start(command: list[str], environment: dict[str, str]) -> "subprocess.Popen[str]":
    # A session of its own: Ctrl-C and Ctrl-Z reach the children through this process alone.
    return subprocess.Popen(
        [sys.executable, "-c", _MAIN.format(root=str(Path(edgekd.__file__).parents[1])), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",  # a library may write any bytes; a reader that failed at them would block the child
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    )
