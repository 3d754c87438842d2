"""Fixtures of the tests of faults. These tests take minutes, and some need root: ``pytest -m faults`` runs them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import Hosts, Quota, why_no_hosts, why_no_nat, why_no_quota
from processes import Process, start


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """A function that starts a process in the test's folder. All are ended after the test."""
    started: list[Process] = []

    def begin(arguments: Any, **more: Any) -> Process:
        started.append(start(arguments, tmp_path, **more))
        return started[-1]

    yield begin
    for process in started:
        process.close()


@pytest.fixture
def hosts() -> Iterator[Callable[..., Hosts]]:
    """A function that makes `Hosts`. The test is skipped if this machine cannot make them."""
    if why := why_no_hosts():
        pytest.skip(why)
    made: list[Hosts] = []

    def make(count: int, **more: Any) -> Hosts:
        if why := why_no_nat() if more.get("behind_nat") else "":
            pytest.skip(why)
        made.append(Hosts(count, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def quota() -> Iterator[Callable[[float], Quota]]:
    """A function that makes a `Quota`. The test is skipped if this machine cannot make one."""
    if why := why_no_quota():
        pytest.skip(why)
    made: list[Quota] = []

    def make(share: float) -> Quota:
        made.append(Quota(share))
        return made[-1]

    yield make
    for each in made:
        each.close()
