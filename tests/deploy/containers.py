"""Helpers of the tests of containers: the ``docker`` command."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 1500  # seconds, the build of an image included


def docker(*arguments: str) -> str:
    """Run ``docker`` with these arguments and return its output; the test fails if the command fails."""
    done = subprocess.run(["docker", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def need_engine() -> None:
    """Skip the test if no Docker engine answers."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode != 0:
        pytest.skip("no Docker engine answers")
