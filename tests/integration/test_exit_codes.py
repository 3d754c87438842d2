"""The table of exit codes in docs/operating.md: each row with a real process, and what a service makes of it."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from disks import small_disk

from edgekd.exit_codes import IN_SHORT, NO_RESTART, ExitCode

ROOT = Path(__file__).resolve().parents[2]
NET = """
from torch import nn


class Net(nn.Sequential):
    calls = 0

    def forward(self, images):
        Net.calls += self.training
        if Net.calls == 12:  # after some steps
            ERROR
        return super().forward(images)


def make(classes):
    return Net(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, classes))
"""
ALONE = ["peer", "--id", 0, "--data", "digits", "--limit", 200, "--batch", 8, "--eval-every", 0]


def peer(spawn: Any, folder: Path, *more: object, error: str = "pass") -> Any:
    """A peer with a network of its own, which does `error` in its twelfth forward pass."""
    (folder / "net.py").write_text(NET.replace("ERROR", error))
    return spawn(*ALONE, "--model", "net.py:make", "--out", "run", *more)


def done(spawn: Any, folder: Path) -> Any:
    return peer(spawn, folder, "--steps", 1)


def stopped(spawn: Any, folder: Path) -> Any:
    process = peer(spawn, folder, "--steps", 0, "--json")
    process.until_step(1)
    process.send_signal(signal.SIGTERM)
    return process


def wrong_value(spawn: Any, folder: Path) -> Any:
    return peer(spawn, folder, "--alpha", 7)


def wrong_file(spawn: Any, folder: Path) -> Any:
    return peer(spawn, folder, "--config", "nothing.toml")


def wrong_keys(spawn: Any, folder: Path) -> Any:
    return peer(spawn, folder, "--certs", "nowhere")


def wrong_folder(spawn: Any, folder: Path) -> Any:
    (folder / "run").touch()
    return done(spawn, folder)


def no_such_flag(spawn: Any, folder: Path) -> Any:
    return peer(spawn, folder, "--colour", "red")


def out_of_memory(spawn: Any, folder: Path) -> Any:
    return peer(spawn, folder, "--steps", 0, error="raise MemoryError")


def diverged(spawn: Any, folder: Path) -> Any:
    return peer(spawn, folder, "--steps", 50, "--lr", 1e30, "--optimiser", "sgd", "--schedule", "constant")


def bug(spawn: Any, folder: Path) -> Any:
    return peer(spawn, folder, "--steps", 0, error="{}['gone']")


def port_in_use(spawn: Any, folder: Path) -> Any:
    with socket.create_server(("127.0.0.1", 0)) as other:
        process = peer(spawn, folder, "--listen", f"127.0.0.1:{other.getsockname()[1]}")
        process.wait()
    return process


def address_of_another_box(spawn: Any, folder: Path) -> Any:
    """A peer that listens on an address which this box does not have, at least not yet."""
    return peer(spawn, folder, "--listen", "192.0.2.200:7000", "--insecure")


def full_disk(spawn: Any, folder: Path) -> Any:
    with small_disk(folder / "disk", "4k") as disk:
        process = peer(spawn, folder, "--steps", 1, "--out", disk / "run")
        process.wait()
    return process


def interrupted(spawn: Any, folder: Path) -> Any:
    process = spawn("simulate", "--data", "digits", "--limit", 200, "--steps", 100_000, "--out", "run")
    process.until(lambda p: (folder / "run").is_dir())
    process.send_signal(signal.SIGINT)
    return process


ENDS: list[tuple[Callable[[Any, Path], Any], ExitCode]] = [
    (done, ExitCode.DONE),
    (stopped, ExitCode.DONE),
    (wrong_value, ExitCode.FAILED),
    (wrong_file, ExitCode.FAILED),
    (wrong_keys, ExitCode.FAILED),
    (wrong_folder, ExitCode.FAILED),
    (no_such_flag, ExitCode.USAGE),
    (out_of_memory, ExitCode.OUT_OF_MEMORY),
    (diverged, ExitCode.DIVERGED),
    (bug, ExitCode.BUG),
    (port_in_use, ExitCode.TRANSIENT),
    (address_of_another_box, ExitCode.TRANSIENT),
    (full_disk, ExitCode.TRANSIENT),
    (interrupted, ExitCode.STOPPED),
]


@pytest.mark.parametrize(("end", "code"), ENDS, ids=lambda value: getattr(value, "__name__", None))
def test_each_end_has_the_code_of_its_row(
    spawn: Any, tmp_path: Path, end: Callable[[Any, Path], Any], code: ExitCode
) -> None:
    process = end(spawn, tmp_path)
    assert process.wait() == code, process.said
    assert ("Traceback" in process.said) == (code is ExitCode.BUG)


@pytest.mark.parametrize(("mistake", "code"), [("--id x", ExitCode.USAGE), ("--alpha 7", ExitCode.FAILED)])
def test_code_is_the_same_where_stderr_cannot_be_written(mistake: str, code: ExitCode) -> None:
    command = [sys.executable, "-m", "edgekd", *map(str, ALONE), *mistake.split()]
    with Path("/dev/full").open("w") as full:
        assert subprocess.run(command, stderr=full, timeout=240, check=False).returncode == code


def test_table_has_a_row_for_each_code_and_says_what_a_service_does() -> None:
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| .* \| (\w+)[^|]* \|$", page, re.MULTILINE))
    assert {int(code) for code in rows} == set(ExitCode) == {code for _, code in ENDS}
    ends = {ExitCode.DONE, ExitCode.STOPPED, *NO_RESTART}  # a person's turn, or nobody's
    assert {int(code): says for code, says in rows.items()} == {
        code: "no" if code in ends else "yes" for code in ExitCode
    }
    assert set(IN_SHORT) == set(ExitCode) - {ExitCode.STOPPED}, "a peer is stopped with 0"
