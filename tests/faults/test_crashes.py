"""A peer that dies, comes back, loses its power, is started twice, or is told to stop."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from processes import (
    DOWN_WITHIN,
    EXCHANGES_WITHIN,
    SLACK,
    STOPS_WITHIN,
    addresses,
    is_free,
    metrics,
    neighbour,
    peer,
    summary,
    until_status,
)

SAVING = ["--steps", 0, "--checkpoint-every", 20]  # without end


def start_three(spawn: Any, out: Path, *more: object) -> tuple[list[str], list[Any]]:
    where = addresses(3)
    every = ["--wait-for", 3, *SAVING, *more]
    return where, [spawn(peer(id, out, *every, listen=where[id], peers=where)) for id in range(3)]


# -- kill -9 -----------------------------------------------------------------------------------------------------------


def test_killed_peer_is_down_within_five_seconds_and_nobody_waits_and_it_comes_back(spawn: Any, tmp_path: Path) -> None:
    where, peers = start_three(spawn, tmp_path)
    for each in peers:
        each.until_exchanging(up=2)
    peers[2].until_step(25)  # past a checkpoint
    reached = peers[2].last["step"]
    killed = peers[2].kill9()
    for id in (0, 1):
        assert peers[id].until_says("peer 2 is down", after=killed) - killed < DOWN_WITHIN + SLACK
        until_status(where[id], lambda s: not neighbour(s, 2).up, DOWN_WITHIN + SLACK)
        peers[id].until(lambda p: p.last["up"] == 1)
        step = peers[id].last["step"]
        peers[id].until_step(step + 10)

    # It is started again: on from its checkpoint, on about the group's round, and heard within 5 s of its first Hello.
    told_of = until_status(where[0], lambda s: True).round
    again = spawn(peer(2, tmp_path, *SAVING, "--resume", listen=where[2], peers=where))
    hello = again.until_says(" is up at ")
    assert again.until_exchanging(after=hello) - hello < EXCHANGES_WITHIN + SLACK
    for id in (0, 1):
        seen = until_status(
            where[id], lambda s: neighbour(s, 2).up and neighbour(s, 2).age < 3, EXCHANGES_WITHIN + SLACK
        )
        assert not seen.refused
        assert peers[id].says("peer 2 is up", after=killed) is not None
    assert "resumed at step " in again.said
    resumed = int(again.said.partition("resumed at step ")[2].split()[0])
    assert 0 <= reached - resumed <= 20 + 5, "not further back than its last checkpoint"
    again.until(
        lambda p: p.last["round"] >= told_of, EXCHANGES_WITHIN + SLACK
    )  # it talks about what the others talk about
    again.until_step(resumed + 5)

    for process in (*peers[:2], again):
        assert process.alive
        process.terminate()
    for id in range(3):
        steps = [record["step"] for record in metrics(tmp_path, id)]
        assert steps == list(range(1, len(steps) + 1)), "each step is there once"
        assert summary(tmp_path, id)["waits"] == 0
        assert summary(tmp_path, id)["refused"] == {}
    lessons = [record["lesson"] for record in metrics(tmp_path, 0)][10:]
    assert None not in lessons
    assert any(2 in record["teachers"] for record in metrics(tmp_path, 1)[-20:]), "it teaches again"


def test_last_predictions_of_a_killed_peer_serve_until_max_age_and_then_not(spawn: Any, tmp_path: Path) -> None:
    where = addresses(2)
    more = ["--clients", 2, "--wait-for", 2, "--max-age", 12, *SAVING]
    first, second = (spawn(peer(id, tmp_path, *more, listen=where[id], peers=where)) for id in range(2))
    second.until_exchanging()
    second.kill9()
    first.until(lambda p: p.last["up"] == 0)
    at = first.last["step"]
    first.until_step(at + 30)
    first.terminate()
    ages = [record["age"] for record in metrics(tmp_path, 0)]
    last_lesson = max(step for step, age in enumerate(ages) if age is not None)
    assert ages[last_lesson - 11 : last_lesson + 1] == list(range(1, 13)), "older with each step, up to max_age"
    assert len(ages) > last_lesson + 10
    assert summary(tmp_path, 0)["waits"] == 0


def test_lockstep_peers_that_come_back_when_the_others_are_done_wait_for_nobody(spawn: Any, tmp_path: Path) -> None:
    where = addresses(2)
    more = ["--clients", 2, "--sync", 3, "--steps", 8, "--checkpoint-every", 4]
    peers = [spawn(peer(id, tmp_path, *more, listen=where[id], peers=where)) for id in range(2)]
    for each in peers:
        assert each.wait() == 0, each.said
    again = spawn(peer(1, tmp_path, *more, "--resume", listen=where[1], peers=where))
    began = time.monotonic()
    assert again.wait(60.0) == 0, again.said
    assert time.monotonic() - began < 60.0
    assert summary(tmp_path, 1)["steps"] == 8


def test_lockstep_peer_that_comes_back_when_the_others_are_gone_says_how_to_go_on_without_them(
    spawn: Any, tmp_path: Path
) -> None:
    where = addresses(2)
    more = ["--clients", 2, "--sync", "--steps", 20]
    stays, goes = (spawn(peer(id, tmp_path, *more, listen=where[id], peers=where)) for id in range(2))
    goes.until_step(2)
    goes.terminate()
    assert stays.wait() == 0, stays.said
    again = spawn(peer(1, tmp_path, *more, "--wait-for", 1, "--resume", listen=where[1], peers=[where[0]]))
    again.until_says(f"0 of 1 neighbours ({where[0]}) are there")
    (line,) = (line for line in again.err if "--wait-for 0" in line)
    time.sleep(16.0)  # as often as it looks again
    assert [other for other in again.err if other.at >= line.at] == [line]
    again.terminate()
    advised = spawn(peer(1, tmp_path, *more, "--resume", "--wait-for", 0, listen=where[1], peers=[where[0]]))
    assert advised.wait() == 0, advised.said
    assert summary(tmp_path, 1)["steps"] == 20


# -- a power cut -------------------------------------------------------------------------------------------------------


def test_new_start_after_a_power_cut_replaces_the_half_open_stream_within_five_seconds(
    hosts: Any, spawn: Any, tmp_path: Path
) -> None:
    net = hosts(3)
    # The box comes back at another address, as from DHCP: nobody is left at its old one to say that the stream is over.
    where = [net.address(id) for id in range(3)]
    more = ["--clients", 2, *SAVING]
    first = spawn(peer(0, tmp_path, *more, listen=where[0]), inside=net.inside(0))
    second = spawn(peer(1, tmp_path, *more, listen=where[1], peers=where[:1]), inside=net.inside(1))
    for each in (first, second):
        each.until_exchanging()
    net.unplug(2)
    started_again = ["--out", tmp_path / "again", "--id", 1]
    again = spawn(peer(1, tmp_path, *more, *started_again, listen=where[2], peers=where[:1]), inside=net.inside(2))
    again.until_step(1)  # loaded, and dialling in vain
    net.unplug(1)
    cut = time.monotonic()
    second.kill9()  # its FIN goes nowhere
    net.plug(2)
    hello = again.until_says("peer 0 is up at ")
    assert first.says("peer 1 is down: silent", after=cut) is None, "the old stream is still there as the new one comes"
    assert again.until_exchanging(after=hello) - hello < EXCHANGES_WITHIN + SLACK
    first.until(lambda p: p.last["up"] == 1 and p.last["age"] is not None and p.last["age"] < 5)
    assert "already runs at" not in first.said
    for process in (first, again):
        process.terminate()


def test_silent_power_cut_is_noticed_within_five_seconds(hosts: Any, spawn: Any, tmp_path: Path) -> None:
    net = hosts(2)
    where = [net.address(id) for id in range(2)]
    more = ["--clients", 2, *SAVING]
    first, second = (
        spawn(peer(id, tmp_path, *more, listen=where[id], peers=where), inside=net.inside(id)) for id in range(2)
    )
    first.until_exchanging()
    second.until_exchanging()
    net.unplug(1)
    cut = time.monotonic()
    second.kill9()
    down = first.until_says("peer 1 is down", after=cut)
    assert down - cut < DOWN_WITHIN + SLACK, "5 s of silence, the last of which began up to a heartbeat after the cut"
    step = first.last["step"]
    first.until_step(step + 5)
    assert first.terminate() < STOPS_WITHIN + SLACK


# -- two of one id -----------------------------------------------------------------------------------------------------


def test_second_live_process_with_one_id_is_refused_by_a_neighbour_of_both_and_the_first_goes_on(
    spawn: Any, tmp_path: Path
) -> None:
    where = addresses(3)
    neighbour_of_both = spawn(peer(0, tmp_path, *SAVING, listen=where[0]))
    first = spawn(peer(1, tmp_path, *SAVING, listen=where[1], peers=where[:1]))
    first.until_exchanging()
    second = spawn(peer(1, tmp_path / "second", *SAVING, listen=where[2], peers=where[:1]))
    second.until_says(f"peer 0 refused this peer: peer 1 already runs at {where[1]}; stop it or choose another --id")
    neighbour_of_both.until_says(f"refused {where[2]}: peer 1 already runs at {where[1]}")
    refused = until_status(where[0], lambda s: s.refused.get("id", 0) >= 2)
    assert neighbour(refused, 1).address == where[1]
    at = time.monotonic()
    second.until_step(0)
    second.until_step(second.last["step"] + 5)  # it trains on by itself
    first.until_exchanging(after=at)
    assert first.last["up"] == 1
    assert first.says("is down") is None
    before = len(second.err), len(neighbour_of_both.err), refused.refused["id"]
    until_status(where[0], lambda s: s.refused["id"] >= before[2] + 4)  # some more tries
    print(second.said)
    assert len(second.err) <= before[0] + 2, "the same again and again"
    assert len(neighbour_of_both.err) <= before[1] + 2
    first.terminate()
    second.until_exchanging()  # now the id is free
    for process in (second, neighbour_of_both):
        process.terminate()


# -- SIGTERM -----------------------------------------------------------------------------------------------------------


def stops(process: Any, where: str, *, what: str) -> None:
    seconds = process.terminate()
    assert seconds < STOPS_WITHIN + SLACK, f"{what}: {seconds:.1f} s"
    assert is_free(where)
    print(f"stopped while {what} in {seconds:.2f} s")


@pytest.mark.parametrize("what", ["dialling", "waiting", "training", "lingering"])
def test_sigterm_ends_a_peer_within_five_seconds_and_frees_its_port(spawn: Any, tmp_path: Path, what: str) -> None:
    where = addresses(2)
    more = {
        "dialling": ["--steps", 0, "--peers", "10.255.255.1:7000,no-such-box.invalid:7000,127.0.0.1:1"],
        "waiting": ["--steps", 0, "--wait-for", 2],
        "training": ["--steps", 0],
        "lingering": ["--steps", 3, "--linger", 600, "--wait-for", 1],  # for the other: alone none lingers
    }[what]
    other = spawn(peer(1, tmp_path, "--steps", 1000, "--clients", 2, listen=where[1], peers=where))
    process = spawn(
        peer(
            0, tmp_path, "--clients", 2, *(["--peers", where[1]] if what != "dialling" else []), *more, listen=where[0]
        )
    )
    state = {"dialling": "training"}.get(what, what)
    if what != "dialling":
        other.until_says("peer 0 is up")
    process.until(lambda p: p.last.get("state") == state)
    if what == "dialling":
        process.until_says("keep dialling")
    at = time.monotonic()
    stops(process, where[0], what=what)
    if what != "dialling":
        expected = "peer 0 is done" if what == "lingering" else "peer 0 is down: it said goodbye"
        assert other.until_says(expected, after=at) - at < STOPS_WITHIN + SLACK
    if what in ("training", "lingering", "dialling"):
        assert list((tmp_path / "peer-0").glob("checkpoint-*.safetensors"))


def test_sigterm_in_the_middle_of_an_evaluation(spawn: Any, tmp_path: Path) -> None:
    (where,) = addresses(1)
    long = ["--limit", 1797, "--eval-fraction", 0.85, "--size", 64, "--model", "resnet18", "--eval-every", 1]
    process = spawn(peer(0, tmp_path, "--steps", 0, "--clients", 2, *long, listen=where))
    process.until_step(1)  # told after the evaluation; the next step takes a fraction of a second
    time.sleep(1.0)
    steps = process.last["step"]
    stops(process, where, what="evaluating")
    assert process.last["step"] <= steps + 1
    assert "accuracy" not in metrics(tmp_path, 0)[-1], "it was cut short"
    assert list((tmp_path / "peer-0").glob("checkpoint-*.safetensors"))


def test_sigterm_while_a_checkpoint_is_written(spawn: Any, tmp_path: Path) -> None:
    (where,) = addresses(1)
    often = ["--steps", 0, "--checkpoint-every", 1, "--model", "resnet18"]  # 90 MB a step
    process = spawn(peer(0, tmp_path, *often, listen=where))
    process.until_step(3)
    folder = tmp_path / "peer-0"
    deadline = time.monotonic() + 30
    while not list(folder.glob(".checkpoint-*.tmp")):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    stops(process, where, what="saving")
    assert not list(folder.glob(".*.tmp"))
    newest = max(folder.glob("checkpoint-*.safetensors"))
    assert newest.name == f"checkpoint-{summary(tmp_path, 0)['steps']:08d}.safetensors"


def test_sigterm_beside_a_neighbour_that_hears_nothing_any_more(spawn: Any, tmp_path: Path) -> None:
    where = addresses(2)
    frozen, process = (
        spawn(peer(id, tmp_path, "--steps", 0, "--clients", 2, listen=where[id], peers=where)) for id in range(2)
    )
    process.until_exchanging()
    frozen.send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    stops(process, where[1], what="beside a frozen neighbour")


def test_kill_while_a_checkpoint_is_written_leaves_the_ones_before_and_no_rubbish(spawn: Any, tmp_path: Path) -> None:
    (where,) = addresses(1)
    often = ["--steps", 0, "--checkpoint-every", 1, "--model", "resnet18"]
    process = spawn(peer(0, tmp_path, *often, listen=where))
    process.until_step(3)
    folder = tmp_path / "peer-0"
    for _ in range(3):
        deadline = time.monotonic() + 30
        while not [file for file in folder.glob(".checkpoint-*.tmp") if file.stat().st_size > 10_000_000]:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.kill9()
        newest = max(folder.glob("checkpoint-*.safetensors"))
        process = spawn(peer(0, tmp_path, *often, "--resume", listen=where))
        process.until_says(f"resumed at step {int(newest.stem.partition('-')[2])}")
        assert "trying the one before it" not in process.said, "what has its name is whole"
        process.until_step(int(newest.stem.partition("-")[2]) + 2)
    process.terminate()
    assert not list(folder.glob(".*.tmp"))
    assert len(list(folder.glob("checkpoint-*.safetensors"))) == 2


# -- a damaged checkpoint ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["truncated", "a flipped bit"])
def test_damaged_checkpoint_is_passed_over_for_the_one_before_with_a_warning(
    spawn: Any, tmp_path: Path, damage: str
) -> None:
    (where,) = addresses(1)
    process = spawn(peer(0, tmp_path, "--steps", 0, "--checkpoint-every", 5, listen=where))
    process.until_step(13)
    process.kill9()
    older, newest = sorted((tmp_path / "peer-0").glob("checkpoint-*.safetensors"))
    content = newest.read_bytes()
    if damage == "truncated":
        newest.write_bytes(content[: len(content) // 3])
    else:
        place = len(content) * 2 // 3
        newest.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
    again = spawn(peer(0, tmp_path, "--steps", 0, "--resume", listen=where))
    step = int(older.stem.partition("-")[2])
    again.until_says(f"resumed at step {step}")
    assert f"{newest.name} is " in again.said
    assert "WARNING peer=0" in again.said
    assert "trying the one before it" in again.said
    again.until_step(step + 3)
    again.terminate()
    steps = [record["step"] for record in metrics(tmp_path, 0)]
    assert steps == list(range(1, len(steps) + 1))


def test_checkpoint_cut_short_anywhere_is_noticed_and_the_one_before_is_used(tmp_path: Path) -> None:
    import torch

    from edgekd.files.checkpoint import CheckpointInfo, load_newest, save_checkpoint

    about = {"id": 1, "round": 7, "model": "m", "classes": ("a", "b"), "size": 32, "heads": 1, "head_layers": "none"}
    state = {"w": torch.arange(6.0).reshape(2, 3)}
    for step in (10, 20):
        path = save_checkpoint(tmp_path, CheckpointInfo(**about, step=step, counts={}, accuracy=None), state)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        found = load_newest(tmp_path)
        assert found is not None
        assert found[0].step == 10, f"{length} of {len(content)} bytes"
    path.write_bytes(content + b"x")
    found = load_newest(tmp_path)
    assert found is not None
    assert found[0].step == 10
    path.write_bytes(content)
    found = load_newest(tmp_path)
    assert found is not None
    assert found[0].step == 20


def test_file_that_is_written_anew_keeps_its_mode(tmp_path: Path) -> None:
    from edgekd.files.atomic import write_atomically

    path = tmp_path / "summary.json"
    write_atomically(path, [b"first"])
    path.chmod(0o640)
    write_atomically(path, [b"second"])
    assert path.read_bytes() == b"second"
    assert oct(path.stat().st_mode & 0o777) == "0o640"
