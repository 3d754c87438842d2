"""Locks between processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.files.locks import locked

PROCESSES, TIMES = 4, 300

# Each process takes the lock again and again. Who holds it makes a file that must not be there, and removes it.
HOLDS_AGAIN_AND_AGAIN = """
import os, sys, time
from pathlib import Path
from edgekd.errors import ConfigError
from edgekd.files.locks import locked
from edgekd.files.runs import run_folder
path, held, times, takes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
times_held = 0
while times_held < times:
    try:
        with locked(path, wait=True) if takes == "lock" else run_folder(path, "digits"):
            os.close(os.open(held, os.O_CREAT | os.O_EXCL))
            assert path.exists()
            times_held += 1
            os.unlink(held)
    except ConfigError:  # another process has the folder
        pass
"""


@pytest.mark.parametrize("takes", ["lock", "folder"])
def test_one_process_at_a_time_holds_what_each_holder_removes(tmp_path: Path, takes: str) -> None:
    arguments = [sys.executable, "-c", HOLDS_AGAIN_AND_AGAIN, tmp_path / "it", tmp_path / "held", str(TIMES), takes]
    processes = [subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert said == [""] * PROCESSES
    assert not [each for each in tmp_path.rglob("*") if each.is_file()]


def test_file_that_a_killed_process_has_left_keeps_nobody_out_and_goes(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    path.touch()
    with locked(path, wait=False):
        assert path.exists()
    assert not path.exists()


def test_file_that_was_removed_while_another_waited_for_it_locks_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with locked(path, wait=False):
        path.unlink()
        with locked(path, wait=False):  # it waits for a file that is there
            other = path.stat().st_ino
            with pytest.raises(BlockingIOError), locked(path, wait=False):
                pass
            assert path.stat().st_ino == other, "who does not get the lock leaves it"
