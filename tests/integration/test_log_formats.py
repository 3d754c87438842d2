"""--log-format with real processes: all that a peer says on stderr has one form, why it ends, too."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NET = """
import warnings
from torch import nn

class Net(nn.Sequential):
    steps = 0

    def forward(self, images):
        Net.steps += self.training
        if Net.steps == 8:
            warnings.warn("mind the\\ngap")
        if Net.steps == LAST:
            {}["gone"]
        return super().forward(images)

def make(classes):
    return Net(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, classes))
"""
SMALL = ["--data", "digits", "--limit", 200, "--batch", 8, "--eval-every", 0, "--model", "net.py:make"]
PEER = ["peer", "--id", 3, "--clients", 4, *SMALL, "--steps", 0, "--json", "--listen", "127.0.0.1:0"]


@pytest.mark.parametrize("form", ["json", "journal"])
def test_each_line_of_a_peer_that_a_bug_ends_has_the_form(spawn: Any, tmp_path: Path, form: str) -> None:
    (tmp_path / "net.py").write_text(NET.replace("LAST", "12"))
    peer = spawn(*PEER, "--log-format", form)
    assert peer.wait() == 70
    if form == "journal":
        assert {line[:3] for line in peer.err} == {"<3>", "<4>", "<6>"}
        assert "<3>edgekd: ended by a bug: KeyError: 'gone'" in peer.err
        assert peer.err[-1] == "<3>KeyError: 'gone'"
        return
    events = [json.loads(line) for line in peer.err]
    assert {event["peer"] for event in events} == {3}
    (warning,) = (event for event in events if event["level"] == "WARNING" and "mind the" in event["message"])
    assert warning["logger"] == "py.warnings"
    assert warning["step"] > 0
    assert events[-1]["message"] == "edgekd: ended by a bug: KeyError: 'gone'"
    assert events[-1]["traceback"].endswith("KeyError: 'gone'")


def test_stop_is_told_in_the_form(spawn: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET.replace("LAST", "-1"))
    peer = spawn(*PEER, "--log-format", "json")
    peer.until_step(2)
    peer.send_signal(signal.SIGINT)
    assert peer.wait() == 0
    assert any("stopping: saying goodbye" in json.loads(line)["message"] for line in peer.err)


@pytest.mark.parametrize("flags", [["--log-format", "json", "--nope"], ["--nope", "--log-format=json"]])
def test_unknown_flag_is_told_in_the_form_that_another_flag_asks_for(spawn: Any, flags: list[str]) -> None:
    peer = spawn("peer", "--id", 0, *flags)
    assert peer.wait() == 2
    (line,) = peer.err
    assert json.loads(line)["message"].startswith("edgekd: No such option")


@pytest.mark.parametrize(
    ("leads_there", "flags", "said"),
    [
        (True, [], "<3>edgekd: alpha must be"),
        (True, ["--log-format", "text"], "edgekd: alpha must be"),
        (False, [], "edgekd: alpha must be"),
        (True, ["--nope"], "<3>edgekd: No such option"),
    ],
)
def test_stderr_that_leads_to_the_journal_gets_priorities(leads_there: bool, flags: list[str], said: str) -> None:
    """$JOURNAL_STREAM names the device and the inode that systemd has connected to its journal."""
    ours, its = os.pipe()
    with open(ours, encoding="utf-8") as stderr:
        where = os.fstat(its)
        stream = f"{where.st_dev}:{where.st_ino + (not leads_there)}"
        code = "from edgekd.cli import main; main()"
        command = [sys.executable, "-c", code, "peer", "--id", "0", "--alpha", "7", *flags]
        try:
            subprocess.run(command, stderr=its, env={**os.environ, "JOURNAL_STREAM": stream}, timeout=120)
        finally:
            os.close(its)
        assert re.match(re.escape(said), stderr.read())
