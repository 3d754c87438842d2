"""Real ``edgekd`` processes on 127.0.0.1: started with a deadline, never left behind."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forked import Forked
from processes import Process, free_ports

Spawn = Callable[..., Process]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Start ``edgekd ARGUMENTS...`` in the test's own folder."""
    started: list[Process] = []

    def start(*arguments: object) -> Process:
        started.append(Process(Forked([str(argument) for argument in arguments], tmp_path)))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture
def ports() -> Callable[[int], list[int]]:
    """Free ports of 127.0.0.1."""
    return free_ports
