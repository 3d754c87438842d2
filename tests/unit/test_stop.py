"""Requests to end: the first is obeyed, the second changes nothing, the third ends the process, not too soon."""

import subprocess
import sys

SCRIPT = """
import os, signal, sys, time
from edgekd.cli import signals
signals.PATIENCE = float(sys.argv[1])
with signals.stoppable() as stop:
    stop.hand_to(lambda number: print("obeyed", number.name, flush=True), at_once=lambda: print("killed", flush=True))
    for pause in (0, 0, 0.3, 0):
        time.sleep(pause)
        os.kill(os.getpid(), signal.SIGTERM)
    print("written", flush=True)
os.kill(os.getpid(), signal.SIGINT)
print("ended", flush=True)
"""


def ended(patience: float) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", SCRIPT, str(patience)], capture_output=True, text=True, timeout=60)


def test_requests_within_the_patience_change_nothing_and_those_after_the_end_are_ignored() -> None:
    done = ended(60.0)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n") == ["obeyed SIGTERM", "written", "ended", ""]


def test_third_request_after_the_patience_ends_the_process_at_once() -> None:
    done = ended(0.1)
    assert (done.returncode, done.stderr) == (128 + 15, "edgekd: ended at once\n")
    assert done.stdout.split("\n") == ["obeyed SIGTERM", "killed", ""]
