"""Signals to ``run``, ``simulate``, ``sweep`` and ``peer``: what ends them, what is kept, what stays ignored."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DEADLINE = 120.0  # seconds: far more than any of this takes
SMALL = ["--data", "digits", "--limit", 300, "--model", "mobilenet_v3_small", "--batch", 8, "--public-batch", 8]
RUN = ["run", *SMALL, "--clients", 2, "--steps", 0, "--out", "results"]
SIMULATE = ["simulate", *SMALL, "--clients", 2, "--steps", 100_000, "--eval-every", 5, "--out", "results"]
SWEEP = ["sweep", *SMALL, "--steps", 100_000, "--measure", "kl,sed", "--jobs", 1, "--out", "results"]
PEER = ["peer", *SMALL, "--id", 0, "--steps", 0, "--json", "--out", "results"]
EARLY = r"edgekd: stopped early, after [\d to]+ of (\d+) steps; results holds what had been reached"
ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="reads /proc")


def trains(process: Any) -> bool:
    """Whether each of the two learners has printed a step."""
    return all(any(line.startswith(f"peer {id}:") and "step" in line for line in process.out) for id in range(2))


def steps(folder: Path) -> list[int]:
    summary = json.loads((folder / "results" / "summary.json").read_text())
    return [peer["steps"] for peer in summary["peers"]]


def runs(pid: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def state(process: Any) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


# -- more than one request ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ENDS)
def test_impatience_costs_a_run_nothing_and_leaves_no_peer(spawn: Any, tmp_path: Path, number: signal.Signals) -> None:
    run = spawn(*RUN, forked_peers=2)
    run.until(lambda p: sum("state training" in line for line in p.out) >= 2)
    peers = run.children()
    run.send_signal(number)
    run.until_says("stopping")
    for other in ENDS:
        run.send_signal(other)
    assert run.wait() == 0, run.err
    assert [done > 0 for done in steps(tmp_path)] == [True, True]
    assert len(peers) == 2
    assert not any(map(runs, peers))
    assert "Traceback" not in run.said


def test_signal_while_the_results_are_written_changes_nothing(spawn: Any, tmp_path: Path) -> None:
    run = spawn(*RUN, forked_peers=2)
    run.until(lambda p: sum("state training" in line for line in p.out) >= 2)
    run.send_signal(signal.SIGINT)
    run.until(lambda p: not p.children())
    run.send_signal(signal.SIGTERM)
    assert run.wait() == 0, run.err
    assert len(steps(tmp_path)) == 2
    assert (tmp_path / "results" / "accuracy.png").is_file()
    assert any("results in results" in line for line in run.out)


def test_run_that_is_told_to_end_as_its_peers_begin_leaves_none(spawn: Any, tmp_path: Path) -> None:
    run = spawn(*RUN, "--clients", 6)
    run.until(lambda p: p.children())
    run.send_signal(signal.SIGTERM)
    peers = set(run.children())
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
        while run.alive:
            peers.update(run.children())
    assert run.wait() == 130, run.err
    assert "edgekd: stopped before a peer had done anything" in run.err
    assert not any(map(runs, peers))
    assert "Traceback" not in run.said


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize("mode", [[], ["--jobs", 2], ["--async"]], ids=["lockstep", "jobs", "async"])
def test_simulation_that_is_told_to_end_summarises_what_it_has_reached(
    spawn: Any, tmp_path: Path, mode: list[str], number: signal.Signals
) -> None:
    simulation = spawn(*SIMULATE, *mode)
    simulation.until(trains)
    simulation.send_signal(number)
    simulation.send_signal(signal.SIGTERM)
    assert simulation.wait() == 130, simulation.err
    assert all(0 < done < 100_000 for done in steps(tmp_path))
    (said,) = simulation.err
    assert re.fullmatch(EARLY, said).group(1) == "100000"  # type: ignore[union-attr]
    assert any("standard deviation" in line for line in simulation.out)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_without_end_stop_a_peer_that_is_joining_as_one_does(
    tmp_path: Path, ports: Callable[[int], list[int]], number: signal.Signals
) -> None:
    (tmp_path / "own").mkdir()
    arguments = ["--id", "0", "--private", "folder:own", "--peers", f"127.0.0.1:{ports(1)[0]}", "--out", "results"]
    with subprocess.Popen(
        [sys.executable, "-m", "edgekd", "peer", *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    ) as peer:
        assert peer.stderr is not None
        said = [peer.stderr.readline()]
        while peer.poll() is None:
            peer.send_signal(number)
            time.sleep(0.01)
        said += peer.stderr.readlines()
    assert "asking the group" in said[0]
    assert said[-1] == "edgekd: stopped before it began\n"
    assert peer.returncode == 0, said
    assert "Traceback" not in "".join(said)
    assert not (tmp_path / "results").exists()


def test_run_that_was_cut_short_says_so_beside_its_table(spawn: Any) -> None:
    run = spawn(*RUN, "--steps", 100_000, forked_peers=2)
    run.until(lambda p: sum("state training" in line for line in p.out) >= 2)
    run.send_signal(signal.SIGINT)
    assert run.wait() == 0, run.err
    assert any(re.fullmatch(EARLY, line) for line in run.err)
    assert any("standard deviation" in line for line in run.out)


@pytest.mark.parametrize(
    "command",
    [
        ["eval", "--checkpoint", "box"],
        ["export", "--checkpoint", "box", "-o", "model.onnx"],
        ["predict", "photo.png", "--checkpoint", "box"],
        ["public", "pictures", "--classes", "cat,dog", "-o", "public.safetensors"],
        ["run"],
        ["simulate"],
        ["split", "--out", "shards"],
        ["status", "127.0.0.1:7000"],
        ["sweep", "--out", "results"],
    ],
    ids=lambda command: command[0],
)
def test_ctrl_c_before_anything_is_done_is_one_line_and_exit_code_130(
    spawn: Any, tmp_path: Path, command: list[str]
) -> None:
    os.mkfifo(tmp_path / "settings.toml")
    process = spawn(*command, "--config", "settings.toml")
    with (tmp_path / "settings.toml").open("w"):  # once the process reads it
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130, process.err
    assert process.err == ["edgekd: stopped"]
    assert [path.name for path in tmp_path.iterdir()] == ["settings.toml"]


# -- a terminal that goes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [RUN, SIMULATE], ids=["run", "simulate"])
def test_terminal_that_goes_costs_no_summary(tmp_path: Path, arguments: list[object]) -> None:
    terminal, its_end = pty.openpty()

    def prepare() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # this process may have been told to ignore it

    process = subprocess.Popen(
        [sys.executable, "-m", "edgekd", *map(str, arguments)],
        cwd=tmp_path,
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        preexec_fn=prepare,
    )
    os.close(its_end)
    try:
        said, deadline = b"", time.monotonic() + DEADLINE
        while not (b"training" in said or b"accuracy 0." in said):
            assert time.monotonic() < deadline, said
            said += os.read(terminal, 65536)
        os.close(terminal)
        assert process.wait(DEADLINE) in (0, 130)
        assert max(steps(tmp_path)) > 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


# -- what was ignored --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [RUN, SIMULATE, SWEEP, PEER], ids=["run", "simulate", "sweep", "peer"])
def test_signals_that_were_ignored_at_the_start_stay_ignored(spawn: Any, arguments: list[object]) -> None:
    ignored = [signal.SIGINT, signal.SIGHUP, signal.SIGTSTP]
    process = spawn(*arguments, ignored=ignored)
    began: dict[str, Callable[[Any], Any]] = {
        "run": lambda p: any("state training" in line for line in p.out),
        "simulate": trains,
        "sweep": lambda p: p.children(),
        "peer": lambda p: p.last.get("step", 0) > 0,
    }
    process.until(began[str(arguments[0])])
    for number in ignored:
        process.send_signal(number)
    lines = len(process.out)
    if arguments is SWEEP:
        time.sleep(2.0)
    else:
        process.until(lambda p: len(p.out) > lines + 1)
    assert process.alive
    assert state(process) != "T"
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert "Traceback" not in process.said
