"""``edgekd run`` and its children: what they import, how they pause, and that none is left behind."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DEADLINE = 120.0  # seconds: far more than any of this takes
SMALL = ["--data", "digits", "--limit", "300", "--model", "mobilenet_v3_small", "--batch", "8", "--public-batch", "8"]

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="reads /proc")


def begin(folder: Path, *arguments: str, files: int | None = None) -> "subprocess.Popen[str]":
    """``edgekd run`` in `folder`, with a limit on open files."""
    source = Path(__file__).parents[2]
    code = f"import sys; sys.path[:] = [*filter(None, sys.path), {str(source)!r}]; from edgekd.cli import main; main()"
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)

    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files or limit[0], limit[1]))
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTSTP):  # this process may have been told to ignore them
            signal.signal(number, signal.SIG_DFL)

    return subprocess.Popen(
        [sys.executable, "-c", code, "run", *SMALL, *arguments, "--out", "results"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=prepare,
    )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """`begin` in the test's own folder; what it started is ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def begin_here(*arguments: str, files: int | None = None) -> "subprocess.Popen[str]":
        started.append(begin(tmp_path, *arguments, files=files))
        return started[-1]

    yield begin_here
    for run in started:
        if run.poll() is None:
            run.terminate()
            run.communicate()


def children(parent: int) -> dict[int, str]:
    """The states of the peers that `parent` has started, by their ids: "S" sleeps, "T" is stopped."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            id, rest = stat.read_text().split(" (", 1)
            arguments = (stat.parent / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        state, its_parent = rest.rpartition(") ")[2].split()[:2]
        if int(its_parent) == parent and b"peer" in arguments:  # others, such as one that is not yet there, are short
            found[int(id)] = state
    return found


def until(holds: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ended(ids: dict[int, str]) -> bool:
    return not any(Path(f"/proc/{id}").exists() for id in ids)


def test_files_in_the_working_folder_are_not_run_by_the_peers(tmp_path: Path, start: Callable[..., Any]) -> None:
    for name in ("random", "peer", "edgekd", "socket"):
        (tmp_path / f"{name}.py").write_text(f"open('{name} was run', 'w').close()\nraise SystemExit(7)\n")
    baseline = ["--baseline"] if sys.version_info >= (3, 11) else []  # its workers look there with Python 3.10
    run = start("--clients", "2", "--steps", "2", *baseline)
    _, said = run.communicate(timeout=DEADLINE)
    assert run.returncode == 0, said
    assert not list(tmp_path.glob("* was run"))


def test_peers_that_were_started_end_when_there_is_no_file_for_the_next(start: Callable[..., Any]) -> None:
    run = start("--clients", "16", "--steps", "0", files=24)
    begun: dict[int, str] = {}
    until(lambda: begun.update(children(run.pid)) or len(begun) > 1 or run.poll() is not None, run)
    _, said = run.communicate(timeout=DEADLINE)
    assert run.returncode == 1
    assert "of 16 peers could be started" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert ended(begun)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_run_that_pauses_pauses_its_peers_and_one_that_is_told_to_end_writes_its_summary(
    tmp_path: Path, start: Callable[..., Any], number: signal.Signals
) -> None:
    run = start("--clients", "2", "--steps", "0")
    peers: dict[int, str] = {}
    metrics = tmp_path / "results" / "peer-1" / "metrics.jsonl"
    until(lambda: peers.update(children(run.pid)) or len(peers) == 2, run)
    until(lambda: metrics.is_file() and metrics.stat().st_size > 0, run)
    os.kill(run.pid, signal.SIGTSTP)
    until(lambda: set(children(run.pid).values()) == {"T"}, run)
    os.kill(run.pid, signal.SIGCONT)
    until(lambda: "T" not in children(run.pid).values(), run)
    os.kill(run.pid, number)
    _, said = run.communicate(timeout=DEADLINE)
    assert "Traceback" not in said
    summary = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert [peer["steps"] > 0 for peer in summary["peers"]] == [True, True]
    assert ended(peers)


def test_peer_that_is_told_to_end_before_its_first_step_ends_the_run(tmp_path: Path, start: Callable[..., Any]) -> None:
    run = start("--clients", "2", "--steps", "0", "--sync")
    peers: dict[int, str] = {}
    began = tmp_path / "results" / "peer-1"
    until(lambda: peers.update(children(run.pid)) or (len(peers) == 2 and began.is_dir()), run)
    os.kill(max(peers), signal.SIGTERM)
    _, said = run.communicate(timeout=DEADLINE)
    assert run.returncode == 1
    assert "peer 1 died: told to end before its first step" in said
    assert said.splitlines()[-1].startswith("edgekd: ended with an error: peer 1 (told to end before its first step)")
    assert "Traceback" not in said
    assert ended(peers)


def test_run_whose_peers_diverge_says_so_and_what_to_do_in_its_last_line(start: Callable[..., Any]) -> None:
    run = start("--clients", "2", "--steps", "9", "--lr", "1e30", "--schedule", "constant")
    _, said = run.communicate(timeout=DEADLINE)
    assert run.returncode == 1
    assert said.splitlines()[-1] == (
        "edgekd: ended with an error: peer 0 (training has diverged), peer 1 (training has diverged); "
        "use a smaller --lr, --kd-weight or --momentum; what they reached is in results"
    )


def test_peer_that_writes_bytes_that_are_no_text_is_read_on(tmp_path: Path, start: Callable[..., Any]) -> None:
    much = "b'caf\\xe9\\n' + b'more than a pipe holds\\n' * 9999"
    written = f"import os, sys\nif 'peer' in sys.argv:\n    os.write(2, {much})\n"
    measure = "def mine(teacher, student, temperature=1.0):\n    return (student - teacher).square().sum(1)\n"
    (tmp_path / "mymeasures.py").write_text(written + measure)
    run = start("--clients", "2", "--steps", "1", "--measure", "./mymeasures.py:mine")
    _, said = run.communicate(timeout=DEADLINE)
    assert run.returncode == 0, said
    assert "caf\\xe9" in said
