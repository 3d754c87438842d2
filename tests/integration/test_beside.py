"""Peers beside a box's real job: they follow the cores that they may use, and pause while they are told to."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekd.workers import usable_cores

SMALL = ["--data", "digits", "--limit", 300, "--model", "mobilenet_v3_small", "--batch", 8, "--public-batch", 8]
ENDLESS = [*SMALL, "--steps", 0, "--checkpoint-every", 0, "--eval-every", 0, "--json"]
V1, V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")

needs_two_cores = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or usable_cores() < 2, reason="needs Linux and two cores"
)
needs_signals = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no SIGUSR1")


def pair(ports: Callable[[int], list[int]], *more: object, clients: int = 2) -> list[list[object]]:
    """The arguments of two peers that know each other."""
    addresses = [f"127.0.0.1:{port}" for port in ports(2)]
    common = ["--clients", clients, "--threads", 1, *more]
    return [
        ["peer", "--id", id, "--listen", addresses[id], "--peers", addresses[1 - id], "--out", f"peer-{id}", *common]
        for id in range(2)
    ]


def processor_time(pid: int) -> int:
    """Ticks that a process has computed, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _field(pid: int, name: str) -> str:
    """A field of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


# -- cores that come and go --------------------------------------------------------------------------------------------


@needs_two_cores
@pytest.mark.every_core
def test_threads_follow_the_affinity_of_a_running_peer(spawn: Any, tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    peer = spawn("peer", "--id", 0, *ENDLESS, "--out", "results")
    begins = usable_cores() if usable_cores() <= 2 else usable_cores() - 1
    peer.until_says(f"computing on cpu: {begins} threads, float32")
    peer.until_step(1)
    os.sched_setaffinity(peer.pid, cores[:1])
    peer.until_says(f"cores it may use now: 1; threads: 1, before {begins}")
    os.sched_setaffinity(peer.pid, cores[:2])
    peer.until_says("cores it may use now: 2; threads: 2, before 1")
    peer.until_step(peer.last["step"] + 2)
    peer.terminate()
    assert '\nthreads = "auto"\n' in (tmp_path / "results" / "config.toml").read_text(), "a later start follows, too"


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup of its own, where this user may make one."""
    top = V1 if (V1 / "cpu.cfs_quota_us").is_file() or (V1 / "tasks").is_file() else V2
    group = top / f"edgekd-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("this user may make no cgroup")
    try:
        if not ((group / "cpu.cfs_quota_us").is_file() or (group / "cpu.max").is_file()):
            pytest.skip("cgroups have no processor quota here")
        yield group
    finally:
        group.rmdir()


@needs_two_cores
@pytest.mark.every_core
def test_threads_follow_the_quota_of_a_running_peer(spawn: Any, cgroup: Path) -> None:
    peer = spawn("peer", "--id", 0, *ENDLESS, "--out", "results")
    peer.until_step(1)
    before = usable_cores() if usable_cores() <= 2 else usable_cores() - 1
    (cgroup / "cgroup.procs").write_text(str(peer.pid))
    try:
        if (cgroup / "cpu.max").is_file():
            (cgroup / "cpu.max").write_text("90000 100000")
        else:
            (cgroup / "cpu.cfs_quota_us").write_text("90000")
        peer.until_says(f"cores it may use now: 1; threads: 1, before {before}")
        peer.terminate()
    finally:
        peer.close()


# -- a pause -----------------------------------------------------------------------------------------------------------


@needs_signals
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="reads /proc")
def test_paused_peer_takes_no_step_and_stays_a_member(spawn: Any, ports: Callable[[int], list[int]]) -> None:
    paused, other = (spawn(*arguments) for arguments in pair(ports, *ENDLESS, "--wait-for", 1))
    for peer in (paused, other):
        peer.until_exchanging()
    paused.send_signal(signal.SIGUSR1)
    paused.until_says("paused: it takes no step until SIGUSR2")
    paused.until(lambda p: p.last.get("state") == "paused")
    step, lines = paused.last["step"], len(paused.events)
    began = [processor_time(peer.pid) for peer in (paused, other)]
    other.until_step(other.last["step"] + 60)
    took = [processor_time(peer.pid) - at for peer, at in zip((paused, other), began, strict=True)]
    assert took[0] < took[1] / 2, "it computes next to nothing"
    assert len(paused.events) == lines, "there is nothing to report"
    address = paused.says("listening on") and next(line for line in paused.err if "listening on" in line).split()[-1]
    status = spawn("status", address, "--json")
    assert status.wait() == 0
    (found,) = json.loads("\n".join(status.out))
    assert (found["state"], found["step"], found["neighbours"][0]["up"]) == ("paused", step, True)
    assert other.last["up"] == 1
    assert other.says("peer 0 is down") is None

    paused.send_signal(signal.SIGUSR2)
    paused.until_says("it goes on, after a pause of")
    paused.until_step(step + 5)
    for peer in (paused, other):
        peer.terminate()
    assert "Traceback" not in paused.said + other.said


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_paused_peer_that_is_told_to_end_writes_what_it_has_reached(
    spawn: Any, tmp_path: Path, number: signal.Signals
) -> None:
    peer = spawn("peer", "--id", 0, *ENDLESS, "--threads", 1, "--out", "results")
    peer.until_step(3)
    peer.send_signal(signal.SIGUSR1)
    peer.until(lambda p: p.last.get("state") == "paused")
    step = peer.last["step"]
    peer.send_signal(number)
    assert peer.wait() == 0, peer.said
    (reached,) = json.loads((tmp_path / "results" / "summary.json").read_text())["peers"]
    assert reached["steps"] == step
    (kept,) = (tmp_path / "results").glob("checkpoint-*.safetensors")
    assert int(kept.stem.removeprefix("checkpoint-")) == step
    assert "it goes on" not in peer.said


@needs_signals
def test_peer_that_has_done_its_steps_lingers_on_whatever_it_is_told(
    spawn: Any, ports: Callable[[int], list[int]]
) -> None:
    done, other = pair(ports, *SMALL, "--json", "--eval-every", 0, "--wait-for", 1)
    first = spawn(*done, "--steps", 2, "--linger", 3)
    second = spawn(*other, "--steps", 0)
    first.until(lambda p: p.last.get("state") == "lingering")
    first.send_signal(signal.SIGUSR1)
    assert first.wait() == 0, first.said
    second.terminate()


@needs_signals
def test_pause_that_is_asked_for_before_the_peer_has_begun_is_kept(spawn: Any) -> None:
    peer = spawn("peer", "--id", 0, *ENDLESS, "--threads", 1)
    handled = 1 << (signal.SIGUSR1 - 1)
    peer.until(lambda p: int(_field(p.pid, "SigCgt"), 16) & handled)  # long before torch is loaded
    peer.send_signal(signal.SIGUSR1)
    peer.until(lambda p: p.last.get("state") == "paused")
    assert peer.last["step"] == 0
    peer.terminate()


@needs_signals
def test_run_hands_a_pause_on_to_its_peers(spawn: Any) -> None:
    run = spawn("run", *SMALL, "--steps", 0, "--eval-every", 0, "--out", "run")
    for id in range(3):
        run.until_says(f"peer {id} is up")
    run.send_signal(signal.SIGUSR1)
    run.until_says("paused: it takes no step until SIGUSR2")
    run.send_signal(signal.SIGUSR2)
    run.until_says("it goes on, after a pause of")
    run.send_signal(signal.SIGINT)
    assert run.wait() == 0, run.said
    assert "Traceback" not in run.said


@needs_signals
def test_lockstep_waits_for_a_paused_peer_and_computes_the_same_bits(
    spawn: Any, tmp_path: Path, ports: Callable[[int], list[int]]
) -> None:
    settings = [*SMALL, "--steps", 4, "--eval-every", 0, "--sync", "--json"]
    simulated = spawn("simulate", *settings, "--clients", 2, "--out", "simulated")
    paused, other = pair(ports, *settings)
    first = spawn(*paused)
    first.until_says("computing on cpu")
    first.send_signal(signal.SIGUSR1)  # while it waits for the other: the pause begins with the training
    second = spawn(*other)
    first.until(lambda p: p.last.get("state") == "paused")
    second.until(lambda p: p.last.get("state") == "training" or p.says("is up"))
    assert first.last["step"] == 0
    assert second.last.get("step", 0) == 0, "it waits"
    first.send_signal(signal.SIGUSR2)
    assert [each.wait() for each in (simulated, first, second)] == [0, 0, 0]
    expected = [peer["weights_sha256"] for peer in json.loads("\n".join(simulated.out))["peers"]]
    files = [tmp_path / f"peer-{id}" / "summary.json" for id in range(2)]
    assert [json.loads(file.read_text())["peers"][0]["weights_sha256"] for file in files] == expected


@needs_signals
def test_lockstep_with_a_time_limit_goes_on_without_a_paused_peer(
    spawn: Any, ports: Callable[[int], list[int]]
) -> None:
    paused, other = (spawn(*arguments) for arguments in pair(ports, *ENDLESS, "--sync", 0.5))
    for peer in (paused, other):
        peer.until_step(2)
    paused.send_signal(signal.SIGUSR1)
    paused.until(lambda p: p.last.get("state") == "paused")
    step = paused.last["step"]
    other.until_step(step + 4)
    assert other.last["missing"] > 0
    assert paused.last["step"] == step
    paused.send_signal(signal.SIGUSR2)
    paused.until_step(step + 2)
    for peer in (paused, other):
        peer.terminate()
