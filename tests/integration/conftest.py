"""Fixtures of the integration tests, which run real ``edgekd`` processes on 127.0.0.1."""

import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from forked import Forked
from processes import Process, free_ports

Spawn = Callable[..., Process]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """A function that starts ``edgekd ARGUMENTS...`` in the test's folder. All are ended after the test.

    Its argument `ignored` holds signals that the process ignores from its start. With `forked_peers`, so many peers of
    ``edgekd run`` are forked like the process itself; their command and environment are not seen in /proc.
    """
    started: list[Process] = []

    def start(*arguments: object, ignored: Sequence[signal.Signals] = (), forked_peers: int = 0) -> Process:
        words = [str(argument) for argument in arguments]
        started.append(Process(Forked(words, tmp_path, ignored, forked_peers)))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture
def ports() -> Callable[[int], list[int]]:
    """A function that finds free ports of 127.0.0.1."""
    return free_ports
