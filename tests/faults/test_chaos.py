"""A short version of benchmarks/chaos.py: random faults for a while, and then everybody is there again."""

import json
import subprocess
import sys
from pathlib import Path

CHAOS = Path(__file__).parents[2] / "benchmarks" / "chaos.py"


def test_after_random_faults_all_are_up_and_exchanging_and_no_step_is_lost() -> None:
    command = [sys.executable, CHAOS, "--seconds", "40", "--seed", "3", "--no-calm"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    print(done.stdout)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["failures"] == []
    assert done.returncode == 0, done.stderr
    assert sum(result["faults"].values()) >= 4
    assert result["starts"] > 5, "some were started again"
