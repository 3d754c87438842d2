"""Real ``edgekd`` processes on 127.0.0.1: started with a deadline, never left behind."""

import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from forked import Forked
from processes import Process, free_ports

Spawn = Callable[..., Process]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Start ``edgekd ARGUMENTS...`` in the test's own folder; `ignored`: signals that it ignores from its start."""
    started: list[Process] = []

    def start(*arguments: object, ignored: Sequence[signal.Signals] = ()) -> Process:
        started.append(Process(Forked([str(argument) for argument in arguments], tmp_path, ignored)))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture
def ports() -> Callable[[int], list[int]]:
    """Free ports of 127.0.0.1."""
    return free_ports
