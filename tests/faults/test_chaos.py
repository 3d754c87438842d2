"""A short version of benchmarks/chaos.py: random faults for a while, and then everybody is there again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).parents[2] / "benchmarks" / "chaos.py"


@pytest.mark.timeout(900)
def test_after_random_faults_all_are_up_and_exchanging_and_went_on_from_what_was_saved() -> None:
    command = [sys.executable, CHAOS, "--seconds", "40", "--seed", "3", "--no-calm"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=880, check=False)
    print(done.stdout)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["failures"] == []
    assert done.returncode == 0, done.stderr
    assert sum(result["faults"].values()) >= 4
    assert result["starts"] > 5, "some were started again"
