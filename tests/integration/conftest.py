"""Real ``edgekd`` processes on 127.0.0.1: started with a deadline, never left behind."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from forked import Forked
from processes import free_ports

DEADLINE = 120.0  # seconds: far more than any of this takes


class Process:
    """One ``edgekd`` process."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self._child = Forked(arguments, folder)
        self.out: list[str] = []
        self.err: list[str] = []
        self._news = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(self._child.stdout, self.out), daemon=True),
            threading.Thread(target=self._read, args=(self._child.stderr, self.err), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it has said with --json."""
        return [json.loads(line) for line in list(self.out) if line.startswith("{")]

    def until(self, holds: Callable[["Process"], bool]) -> None:
        """Wait until `holds(process)`, asked again after every line."""
        deadline = time.monotonic() + DEADLINE
        with self._news:
            while not (found := holds(self)) and self._child.poll() is None and time.monotonic() < deadline:
                self._news.wait(0.2)  # its end comes a moment after its last line, and no line tells of it
        found = found or holds(self)
        assert found or self._child.poll() is None, f"ended before with code {self._child.poll()}; stderr: {self.err}"
        assert found, f"nothing of the kind within {DEADLINE:.0f} s; stderr: {self.err}"

    def until_step(self, step: int) -> None:
        self.until(lambda p: any(event.get("step", -1) >= step for event in p.events))

    def send_signal(self, number: int) -> None:
        self._child.send_signal(number)

    def terminate(self) -> None:
        """SIGTERM, and its end with exit code 0."""
        self.send_signal(signal.SIGTERM)
        assert self.wait() == 0, self.err

    def wait(self, timeout: float = DEADLINE) -> int:
        """Its exit code."""
        code = self._child.wait(timeout)
        for reader in self._readers:
            reader.join(timeout)
        return code

    def children(self) -> list[str]:
        """The process ids of its children, on Linux."""
        pid = self._child.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    def kill(self) -> None:
        """Whatever is left of it, its children too: they would hold the pipes of whoever runs the tests."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self.wait()


Spawn = Callable[..., Process]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Start ``edgekd ARGUMENTS...`` in the test's own folder."""
    started: list[Process] = []

    def start(*arguments: object) -> Process:
        started.append(Process([str(argument) for argument in arguments], tmp_path))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def ports() -> Callable[[int], list[int]]:
    """Free ports of 127.0.0.1."""
    return free_ports
