"""Three real processes teach one another: in lockstep as simulated, and whatever happens to one of them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekd.exit_codes import ExitCode

SMALL = ["--data", "digits", "--limit", 300, "--gamma", 5, "--model", "mobilenet_v3_small"]
SMALL += ["--batch", 8, "--public-batch", 8, "--eval-every", 0, "--threads", 1]  # several share the cores


def peer(ports: list[int], id: int, *more: object, out: Path) -> list[object]:
    others = ",".join(f"127.0.0.1:{port}" for port in ports)  # oneself included: fine
    where = ["--listen", f"127.0.0.1:{ports[id]}", "--peers", others]
    return ["peer", "--id", id, *where, "--out", out / f"peer-{id}", "--json", *SMALL, *more]


def summary(out: Path, id: int) -> dict[str, Any]:
    content = json.loads((out / f"peer-{id}" / "summary.json").read_text())
    (only,) = content["peers"]
    assert isinstance(only, dict)
    return only


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.mark.parametrize(
    ("settings", "order", "heads", "lessons"),
    [
        (["--measure", "kl", "--combine", "average", "--model", "resnet18"], (2, 0, 1), 1, 6),
        (["--measure", "sed", "--combine", "sum"], (1, 2, 0), 1, 6),
        (["--heads", 3, "--alpha", 0, "--combine", "confident"], (0, 2, 1), 3, 6),
        (["--heads", 2, "--two-phase", "--measure", "js", "--combine", "nway"], (2, 1, 0), 2, 3),
        (["--heads", 2, "--combine", "agreement"], (1, 0, 2), 2, 6),
        (["--measure", "td", "--transport", "zmq"], (1, 0, 2), 1, 6),
    ],
    ids=["kl", "sed", "chain", "two-phase", "agreement", "zmq"],
)
def test_synchronous_processes_equal_the_simulation_bit_for_bit(
    spawn: Any, ports: Any, tmp_path: Path, settings: list[Any], order: tuple[int, ...], heads: int, lessons: int
) -> None:
    settings = [*settings, "--steps", 6, "--seed", 3, "--broadcast-every", 2]
    simulated = spawn("simulate", *SMALL, *settings, "--sync", "--json", "--out", tmp_path / "simulated")
    addresses = ports(3)
    peers = {id: spawn(*peer(addresses, id, *settings, "--sync", out=tmp_path)) for id in order}
    assert [process.wait() for process in peers.values()] == [0, 0, 0]
    assert simulated.wait() == 0
    expected = [p["weights_sha256"] for p in json.loads("\n".join(simulated.out))["peers"]]
    got = [summary(tmp_path, id) for id in range(3)]
    assert [p["weights_sha256"] for p in got] == expected
    assert len(set(expected)) == 3
    assert all(p["lessons"] == lessons and p["missing"] == 0 for p in got)
    assert all(len(p["head_accuracies"]) == heads and p["accuracy"] == p["head_accuracies"][-1] for p in got)
    frame = heads * 8 * 10 * 2  # float16; a stream that takes another's place starts with the last frames again
    assert all(p["bytes_sent"] >= 2 * -(-lessons // 2) * frame and p["bytes_sent"] % frame == 0 for p in got)


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_synchronous_processes_with_keys_equal_the_simulation_bit_for_bit(
    spawn: Any, ports: Any, tmp_path: Path, transport: str
) -> None:
    assert spawn("certs", "--ids", "0,1,2").wait() == 0
    settings = ["--steps", 6, "--seed", 3, "--broadcast-every", 2, "--sync"]
    simulated = spawn("simulate", *SMALL, *settings, "--json", "--out", tmp_path / "simulated")
    numbers = ports(3)
    named = ",".join(f"{id}@127.0.0.1:{port}" for id, port in enumerate(numbers))

    def start(id: int) -> Any:
        who = ["--certs", f"certs/peer-{id}", "--peers", named, "--allow", "0,1,2", "--transport", transport]
        return spawn(*peer(numbers, id, *settings, *who, out=tmp_path))

    peers = [start(id) for id in (1, 2, 0)]
    assert [process.wait() for process in peers] == [0, 0, 0]
    assert simulated.wait() == 0
    expected = [p["weights_sha256"] for p in json.loads("\n".join(simulated.out))["peers"]]
    got = [summary(tmp_path, id) for id in range(3)]
    assert [p["weights_sha256"] for p in got] == expected
    assert all(p["lessons"] == 6 and p["missing"] == 0 for p in got)


def test_peer_without_keys_gets_nowhere_near_a_group_that_has_them_and_the_group_trains_on(
    spawn: Any, ports: Any, tmp_path: Path
) -> None:
    assert spawn("certs", "--ids", "0,1").wait() == 0
    numbers = ports(3)
    group = ["--clients", 3, "--steps", 0]
    first, second = (
        spawn(
            *peer(numbers, id, *group, "--certs", f"certs/peer-{id}", out=tmp_path),
            *("--peers", f"{1 - id}@127.0.0.1:{numbers[1 - id]}"),
        )
        for id in range(2)
    )
    outsider = spawn(*peer(numbers, 2, *group, out=tmp_path))
    there = f"cannot reach 127.0.0.1:{numbers[0]}: it speaks TLS alone: give this peer its keys, --certs DIR"
    outsider.until(lambda p: any(there in line for line in p.err))
    for process in (first, second):
        process.until(lambda p: any(event.get("age") is not None for event in p.events))
    where = f"0@127.0.0.1:{numbers[0]}"
    asked = spawn("status", where, "--certs", "certs/peer-1", "--json")
    assert asked.wait() == 0, asked.err
    (found,) = json.loads("\n".join(asked.out))
    assert [neighbour["id"] for neighbour in found["neighbours"]] == [1]
    assert spawn("status", where).wait() == 1
    for process in (first, second, outsider):
        process.terminate()


@pytest.mark.parametrize(
    "exchange", [["--sync"], [], ["--encoding", "one-bit"]], ids=["lockstep", "asynchronous", "one-bit"]
)
def test_peers_that_diverge_say_so_and_go_and_the_others_train_on(
    spawn: Any, ports: Any, tmp_path: Path, exchange: list[str]
) -> None:
    addresses, settings = ports(4), ["--clients", 4, "--steps", 12, "--wait-for", 3, *exchange]
    sound = [spawn(*peer(addresses, id, *settings, out=tmp_path)) for id in range(2)]
    wild = ["--lr", 1e30, "--schedule", "constant"]
    diverging = {id: spawn(*peer(addresses, id, *settings, *wild, out=tmp_path)) for id in (2, 3)}
    for id, process in diverging.items():
        assert process.wait() == 5, process.err
        assert f"edgekd: training of learner {id} has diverged by step 1: " in process.err[-1]
        assert not list((tmp_path / f"peer-{id}").glob("**/*.safetensors")), "what has diverged is not to be resumed"
    assert [process.wait() for process in sound] == [0, 0]
    for id, process in enumerate(sound):
        assert summary(tmp_path, id)["steps"] == 12
        assert summary(tmp_path, id)["refused"] == {}, "NaN is not even sent"
        assert not any("is done" in line and ("peer 2" in line or "peer 3" in line) for line in process.err)


def test_killed_peer_costs_the_others_nothing(spawn: Any, ports: Any, tmp_path: Path) -> None:
    addresses = ports(3)
    peers = [spawn(*peer(addresses, id, "--steps", 60, "--wait-for", 3, out=tmp_path)) for id in range(3)]
    peers[2].until_step(10)
    peers[2].send_signal(signal.SIGKILL)
    assert peers[2].wait() == -signal.SIGKILL
    assert [peers[id].wait() for id in range(2)] == [0, 0]
    for id in range(2):
        reached = summary(tmp_path, id)
        assert reached["steps"] == 60
        assert reached["waits"] == 0
        assert reached["lessons"] >= 50
        assert any("peer 2 is down" in line for line in peers[id].err)


def test_peer_that_is_killed_over_zeromq_comes_back_and_exchanges_again(spawn: Any, ports: Any, tmp_path: Path) -> None:
    addresses = ports(3)
    every = ["--transport", "zmq", "--steps", 0, "--checkpoint-every", 5, "--wait-for", 3]
    peers = [spawn(*peer(addresses, id, *every, out=tmp_path)) for id in range(3)]
    peers[2].until_step(10)
    peers[2].send_signal(signal.SIGKILL)
    assert peers[2].wait() == -signal.SIGKILL
    for survivor in peers[:2]:
        survivor.until(lambda p: any("peer 2 is down" in line for line in p.err))
    again = spawn(*peer(addresses, 2, *every, "--resume", out=tmp_path))
    again.until(lambda p: any(event.get("up") == 2 and event.get("age") is not None for event in p.events))
    for survivor in peers[:2]:
        survivor.until(lambda p: sum("peer 2 is up" in line for line in p.err) == 2)
    for process in (again, *peers[:2]):
        process.terminate()
    assert all(summary(tmp_path, id)["waits"] == 0 for id in range(2))
    assert all(is_free(port) for port in addresses)


def test_sigterm_says_goodbye_saves_and_frees_the_port_and_the_peer_resumes(
    spawn: Any, ports: Any, tmp_path: Path
) -> None:
    addresses = ports(2)
    first = spawn(*peer(addresses, 0, "--steps", 0, "--clients", 2, "--wait-for", 2, out=tmp_path))
    second = spawn(*peer(addresses, 1, "--steps", 0, "--clients", 2, "--wait-for", 2, out=tmp_path))
    first.until_step(5)
    began = time.monotonic()
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 0
    assert time.monotonic() - began < 30, "a hang; how fast it is stands in the benchmarks"
    assert is_free(addresses[0])
    second.until(lambda p: any("peer 0 is down" in line for line in p.err))
    stopped_at = summary(tmp_path, 0)["steps"]
    assert stopped_at >= 5
    again = spawn(*peer(addresses, 0, "--steps", 0, "--clients", 2, "--resume", out=tmp_path))
    again.until(lambda p: any(event.get("up") == 1 and event.get("age") is not None for event in p.events))
    assert any(f"resumed at step {stopped_at}" in line for line in again.err)
    assert min(event["step"] for event in again.events if event["state"] == "training") > stopped_at
    for process in (again, second):
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_peer_that_waits_for_others_stops_at_once(spawn: Any, ports: Any, tmp_path: Path, number: int) -> None:
    addresses = ports(2)
    waiting = spawn(*peer(addresses, 0, "--sync", "--clients", 2, out=tmp_path))
    waiting.until(lambda p: any(event["state"] == "waiting" for event in p.events))
    waiting.send_signal(number)
    assert waiting.wait(30) == 0
    assert is_free(addresses[0])


def test_finished_peer_teaches_on_until_the_slower_one_is_done(spawn: Any, ports: Any, tmp_path: Path) -> None:
    addresses = ports(2)
    slow = ["--clients", 2, "--wait-for", 2, "--steps", 40]
    quick = ["--clients", 2, "--wait-for", 2, "--steps", 5]
    peers = [spawn(*peer(addresses, id, *steps, out=tmp_path)) for id, steps in ((0, quick), (1, slow))]
    assert [process.wait() for process in peers] == [0, 0]
    assert any(event["state"] == "lingering" for event in peers[0].events)
    reached = summary(tmp_path, 1)
    assert reached["lessons"] >= 36
    assert reached["fresh_lessons"] > 10, "it went on hearing new rounds after the other had done its 5 steps"


def test_peer_of_another_contract_is_refused_and_both_say_why(spawn: Any, ports: Any, tmp_path: Path) -> None:
    addresses = ports(2)
    common = ["--clients", 2, "--steps", 0]
    peers = [
        spawn(*peer(addresses, id, *common, "--data-seed", id, out=tmp_path))  # another split: another public file
        for id in range(2)
    ]
    for process in peers:
        process.until_says("cannot work with this peer: public images: seed: ")
        process.until_step(1)
    assert all(event["up"] == 0 for process in peers for event in process.events)


def test_box_with_its_own_files_learns_from_another(spawn: Any, ports: Any, tmp_path: Path) -> None:
    split = spawn(
        "split", "--data", "digits", "--limit", 300, "--clients", 2, "--gamma", 5, "--out", tmp_path / "shards"
    )
    assert split.wait() == 0
    addresses, processes = ports(2), []
    for id in range(2):
        private = f"folder:{tmp_path}/shards/client-{id}/private"
        files = ["--private", private, "--public", tmp_path / "shards/public.safetensors"]
        files += ["--eval", f"folder:{tmp_path}/shards/eval", "--weights", "none"]
        listen = ["--listen", f"127.0.0.1:{addresses[id]}", "--peers", f"127.0.0.1:{addresses[1 - id]}"]
        small = ["--model", "mobilenet_v3_small", "--batch", 8, "--public-batch", 8, "--steps", 6]
        small += ["--sync", "--json"]
        processes.append(spawn("peer", "--id", id, *listen, *files, *small, "--out", tmp_path / f"peer-{id}"))
    assert [process.wait() for process in processes] == [0, 0]
    assert all(summary(tmp_path, id)["lessons"] > 0 for id in range(2))
    checked = spawn("eval", "--checkpoint", tmp_path / "peer-0", "--json")
    assert checked.wait() == 0
    assert json.loads(checked.out[-1])["accuracy"] == pytest.approx(summary(tmp_path, 0)["accuracy"])


def test_run_trains_compares_and_writes_its_folder(spawn: Callable[..., Any], tmp_path: Path) -> None:
    run = spawn("run", "--baseline", *SMALL, "--steps", 8, "--json", "--out", tmp_path / "run", forked_peers=3)
    assert run.wait() == 0, run.err
    result = json.loads(run.out[-1])
    assert result == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [p["id"] for p in result["peers"]] == [0, 1, 2]
    assert {len(result["peers"]), len(result["baseline"]["peers"]), len(result["baseline"]["balanced"]["peers"])} == {3}
    assert 0 <= result["pooled"]["accuracy"] <= 1
    assert "gap_closed" in result
    assert (tmp_path / "run" / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "run" / "config.toml").is_file()
    page = (tmp_path / "run" / "report.html").read_text()
    for id in (0, 1, 2):
        assert re.search(f"<li>Peer {id} (gained|lost|has no gain)", page), "against the lone peers"
        assert f"<summary>Peer {id}: 10 classes</summary>" in page
    assert len((tmp_path / "run" / "peer-0" / "metrics.jsonl").read_text().splitlines()) == 8


def taught(run: Path, clients: int) -> list[list[list[int]]]:
    """For each peer of a run, who taught it at each step."""
    files = [run / f"peer-{id}" / "metrics.jsonl" for id in range(clients)]
    return [[json.loads(line)["teachers"] for line in file.read_text().splitlines()] for file in files]


def test_peers_in_a_ring_learn_from_the_two_beside_them_alone(spawn: Any, tmp_path: Path) -> None:
    ring = [*SMALL, "--clients", 4, "--topology", "ring", "--sync", "--steps", 3]
    run = spawn("run", *ring, "--out", tmp_path / "run", forked_peers=4)
    assert run.wait() == 0, run.err
    assert taught(tmp_path / "run", 4) == [[[1, 3]] * 3, [[0, 2]] * 3, [[1, 3]] * 3, [[0, 2]] * 3]


def test_run_on_a_graph_from_a_file_equals_its_simulation_bit_for_bit(spawn: Any, tmp_path: Path) -> None:
    (tmp_path / "path.txt").write_text("0 1\n1 2\n")  # its ends have one neighbour to wait for
    path = [*SMALL, "--topology", "path.txt", "--wait-for", 2, "--sync", "--steps", 3]
    peers = {"run": 3, "simulate": 0}
    processes = {name: spawn(name, *path, "--out", tmp_path / name, forked_peers=peers[name]) for name in peers}
    assert [process.wait() for process in processes.values()] == [0, 0], processes["run"].err
    assert taught(tmp_path / "run", 3) == [[[1]] * 3, [[0, 2]] * 3, [[1]] * 3]
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in processes]
    run, simulated = ([peer["weights_sha256"] for peer in each["peers"]] for each in summaries)
    assert run == simulated


def test_run_ends_with_what_the_others_reached_when_a_peer_dies(spawn: Any, tmp_path: Path) -> None:
    run = spawn("run", *SMALL, "--steps", 60, "--out", tmp_path / "run")
    run.until(lambda p: any(line.startswith("peer 2:") and "state training" in line for line in p.out))
    victim = next(c for c in run.children() if "--id\x002" in Path(f"/proc/{c}/cmdline").read_text())
    os.kill(int(victim), signal.SIGKILL)
    assert run.wait() == 1
    assert any("peer 2 died: killed by SIGKILL" in line for line in run.err)
    assert any("ended with an error: peer 2" in line for line in run.err)
    result = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [(p["id"], p["steps"]) for p in result["peers"]] == [(0, 60), (1, 60)]


def test_interrupted_run_keeps_what_its_peers_have_reached(spawn: Any, tmp_path: Path) -> None:
    run = spawn("run", *SMALL, "--steps", 4000, "--out", tmp_path / "run", forked_peers=3)
    run.until(lambda p: sum("state training" in line for line in p.out) >= 3)
    run.send_signal(signal.SIGINT)
    assert run.wait() == 0, run.err
    result = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [p["id"] for p in result["peers"]] == [0, 1, 2]
    assert all(0 < p["steps"] < 4000 for p in result["peers"])


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for child processes in /proc")
def test_run_that_is_terminated_in_its_baselines_leaves_nothing_behind(spawn: Any, tmp_path: Path) -> None:
    run = spawn("run", "--baseline", *SMALL, "--steps", 100_000, "--out", tmp_path / "run")
    deadline = time.monotonic() + 60
    while len(children := run.children()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 130, run.err
    while [c for c in children if Path(f"/proc/{c}/cmdline").exists()]:  # the last see its end, and end
        assert time.monotonic() < deadline + 60
        time.sleep(0.05)


def test_folder_of_an_earlier_run_is_refused(spawn: Any, ports: Any, tmp_path: Path) -> None:
    addresses = ports(1)
    once = [*peer(addresses, 0, "--steps", 1, out=tmp_path)]
    assert spawn(*once).wait() == 0
    again = spawn(*once)
    assert again.wait() == 1
    assert "holds an earlier run: go on from it with --resume" in again.err[-1]


def test_resumed_peer_that_was_done_keeps_its_result(spawn: Any, ports: Any, tmp_path: Path) -> None:
    addresses = ports(1)
    once = peer(addresses, 0, "--steps", 2, out=tmp_path)
    assert spawn(*once).wait() == 0
    first = summary(tmp_path, 0)
    assert spawn(*once, "--resume").wait() == 0
    assert summary(tmp_path, 0) == first
    other = spawn(*peer(addresses, 0, "--steps", 2, "--id", 1, "--resume", out=tmp_path))
    assert other.wait() == 1
    assert "the checkpoint's id is 0, this peer's is 1" in other.err[-1]


def test_group_in_lockstep_resumes_between_two_broadcasts(spawn: Any, ports: Any, tmp_path: Path) -> None:
    addresses = ports(2)
    settings = ["--clients", 2, "--sync", "--broadcast-every", 50, "--steps", 0]

    def start(*more: object) -> list[Any]:
        return [spawn(*peer(addresses, id, *settings, *more, out=tmp_path)) for id in range(2)]

    first = start()
    for process in first:
        process.until_step(3)
        process.send_signal(signal.SIGTERM)
    assert [process.wait() for process in first] == [0, 0]
    stopped_at = max(summary(tmp_path, id)["steps"] for id in range(2))
    assert stopped_at % 50 != 0
    again = start("--resume")
    for process in again:
        process.until_step(stopped_at + 2)
    for process in again:
        process.send_signal(signal.SIGTERM)
    assert [process.wait() for process in again] == [0, 0]


def test_restarted_peer_joins_a_group_in_lockstep_whose_third_is_gone(spawn: Any, ports: Any, tmp_path: Path) -> None:
    addresses = ports(3)
    processes = [spawn(*peer(addresses, id, "--sync", "--steps", 0, out=tmp_path)) for id in range(3)]
    processes[0].until_step(2)
    for process in processes[1:]:
        process.send_signal(signal.SIGKILL)
        process.wait()
    again = spawn(*peer(addresses, 1, "--sync", "--steps", 0, "--resume", out=tmp_path))
    again.until(lambda p: any(event.get("age") is not None for event in p.events))
    for process in (again, processes[0]):
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_impatience_loses_nothing(spawn: Any, ports: Any, tmp_path: Path) -> None:
    impatient = spawn(*peer(ports(1), 0, "--steps", 0, out=tmp_path))
    impatient.until_step(3)
    for _ in range(5):
        impatient.send_signal(signal.SIGINT)
    assert impatient.wait() == 0
    assert summary(tmp_path, 0)["steps"] >= 3
    assert list((tmp_path / "peer-0").glob("checkpoint-*.safetensors"))
    assert not list((tmp_path / "peer-0").glob(".*.tmp"))


def test_peer_whose_output_nobody_reads_trains_on(tmp_path: Path) -> None:
    arguments = [str(a) for a in ("peer", "--id", 0, *SMALL, "--steps", 20, "--eval-every", 1, "--out", tmp_path / "p")]
    child = subprocess.Popen(
        [sys.executable, "-m", "edgekd", *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdout is not None
    child.stdout.readline()
    child.stdout.close()
    assert child.wait(120) == 0
    assert json.loads((tmp_path / "p" / "summary.json").read_text())["peers"][0]["steps"] == 20


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/proc/mounts").is_file(), reason="mounts a small disk")
def test_full_disk_ends_no_training_but_is_no_success(spawn: Any, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(disk)], capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        full = spawn("peer", "--id", 0, *SMALL, "--steps", 5, "--out", disk / "p")
        assert full.wait() == ExitCode.TRANSIENT
        assert any("No space left on device; training goes on" in line for line in full.err)
        assert full.err[-1].startswith("edgekd: not everything could be written")
        assert any("accuracy" in line and "5 steps" in line for line in full.out)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_peers_whose_common_data_differs_are_told_by_which_setting(spawn: Any, ports: Any, tmp_path: Path) -> None:
    addresses = ports(3)
    plain = ["--steps", 0]
    first = spawn(*peer(addresses, 0, *plain, out=tmp_path))
    other = spawn(*peer(addresses, 1, *plain, "--limit", 290, "--size", 48, out=tmp_path))
    for process, said in (
        (first, "peer 1 at 127.0.0.1:{} cannot work with this peer: public images: size: 32 here, 48 there; limit: "),
        (other, "cannot work with this peer: public images: size: 48 here, 32 there; limit: 290 here, "),
    ):
        process.until_says(said.format(addresses[1]))
        assert not process.says("copy one box's file")
    dealt = spawn(*peer(addresses, 2, *plain, "--gamma", 2, "--clients", 4, out=tmp_path))
    said = "deals the common data set out otherwise, so shards overlap: clients: {} there; split: {} there"
    first.until_says("peer 2 " + said.format("3 here, 4", "gamma 5 here, gamma 2"))
    dealt.until_says("peer 0 " + said.format("4 here, 3", "gamma 2 here, gamma 5"))
    first.until(lambda p: p.last.get("up") == 1)
    for process in (first, other, dealt):
        process.terminate()
