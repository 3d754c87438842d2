"""A small race of real processes in boxes: network namespaces and CPU quotas, so it needs Linux and root."""

import os
import sys
from pathlib import Path

import pytest
from race.boxes import CGROUP, Box, Hosts, why_no_boxes
from race.runs import Fault, Lab, Run
from race.settings import SMALL
from race.venvs import HERE

pytestmark = [pytest.mark.faults, pytest.mark.skipif(bool(why_no_boxes()), reason=why_no_boxes())]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A laboratory whose environment with torch is that of this test."""
    base = tmp_path / "venvs" / "base"
    (base / "bin").mkdir(parents=True)
    (base / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (base / "bin" / "python").chmod(0o755)
    (base / "installed.txt").write_text((HERE / "pytorch" / "requirements.txt").read_text())
    return Lab(out=tmp_path, venvs=base.parent, cores=0.5, limit=250.0)


def test_box_counts_the_processor_time_and_the_memory_of_its_processes_and_kills_them(tmp_path: Path) -> None:
    with Hosts(1) as hosts:
        box = Box(hosts, 0, 0.5)
        try:
            box.start([sys.executable, "-c", "while True: pass"], tmp_path / "log.txt", {})
            while box.usage().processor_seconds < 0.3:
                assert box.running
            assert box.usage().memory > 1e6
            assert box.usage().bytes < 10_000
            box.kill()
            assert not box.running
        finally:
            box.close()
    assert not [*CGROUP.glob(f"*/ekd{os.getpid()}n*")]


@pytest.mark.parametrize("who", ["edgekd", "alone"])
def test_every_node_of_a_run_has_a_row_with_its_accuracy_and_what_it_used(lab: Lab, who: str) -> None:
    found = lab.result(Run(who=who, setting=SMALL.with_steps(30), seed=101))
    assert [row["node"] for row in found["rows"]] == ["0", "1", "2"]
    for row in found["rows"]:
        assert 0 < row["accuracy"] < 1
        assert row["processor_seconds"] > 0
        assert (row["bytes"] > 10_000) == (who == "edgekd")
    steps = {point["step"] for point in found["curve"]}
    assert max(steps) == 30
    assert lab.result(Run(who=who, setting=SMALL.with_steps(30), seed=101)) == found  # it is not made again


def test_others_end_a_run_in_which_a_node_is_killed(lab: Lab) -> None:
    found = lab.result(Run(who="edgekd", setting=SMALL.with_steps(400), seed=101, fault=Fault.KILL))
    zero, victim, two = found["rows"]
    assert "steps=400" in zero["note"]
    assert "steps=400" in two["note"]
    assert "victim=1" in victim["note"]
    assert "steps=400" not in victim["note"]
