"""What networks do to peers: partitions, slow and lossy links, names that do not resolve, NAT."""

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from processes import (
    DOWN_WITHIN,
    EXCHANGES_WITHIN,
    SLACK,
    addresses,
    metrics,
    peer,
    status,
    summary,
    until_status,
)

HERE = Path(__file__).parent
ENDLESS = ["--steps", 0, "--checkpoint-every", 0]
LOUD = (sys.executable, str(HERE / "loud.py"))


def start(spawn: Any, net: Any, out: Path, *more: object) -> list[Any]:
    """A peer on each host, all with the same list of addresses."""
    where = [net.address(id) for id in range(net.count)]
    own = ["--clients", net.count, *ENDLESS, *more]
    return [spawn(peer(id, out, *own, listen=where[id], peers=where), inside=net.inside(id)) for id in range(net.count)]


# -- who dials whom ----------------------------------------------------------------------------------------------------


def streams_to(ports: set[int]) -> int:
    """How many TCP connections of this box come in at `ports`."""
    found = 0
    for table in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")):  # gRPC's sockets are of both kinds
        for line in table.read_text().splitlines()[1:] if table.is_file() else []:
            _, local, _, state, *_ = line.split()
            found += state == "01" and int(local.rpartition(":")[2], 16) in ports
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").is_file(), reason="counts connections in /proc/net/tcp")
def test_same_list_of_peers_everywhere_makes_one_stream_a_pair_and_none_to_oneself(spawn: Any, tmp_path: Path) -> None:
    where = addresses(3)
    peers = [spawn(peer(id, tmp_path, "--wait-for", 3, *ENDLESS, listen=where[id], peers=where)) for id in range(3)]
    for each in peers:
        each.until_exchanging(up=2)
    ports = {int(address.rpartition(":")[2]) for address in where}
    deadline = time.monotonic() + 20
    while streams_to(ports) != 3:  # of a pair that dialled both ways one goes
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for _ in range(40):
        assert streams_to(ports) == 3
        time.sleep(0.1)
    for id in range(3):
        seen = until_status(where[id], lambda s: True)
        assert [(n.id, n.up) for n in seen.neighbours] == [(other, True) for other in range(3) if other != id]
        assert not seen.refused
        assert "down" not in peers[id].said
    for each in peers:
        each.terminate()


def test_port_that_is_closed_at_first_is_dialled_until_it_opens(spawn: Any, tmp_path: Path) -> None:
    where = addresses(2)
    more = ["--clients", 2, *ENDLESS]
    only_dials = spawn(peer(0, tmp_path, *more, listen=None, peers=where[1:]))
    only_dials.until_says("Connection refused; keep dialling")
    only_dials.until_step(50)
    lines = len(only_dials.err)
    time.sleep(8.0)  # backed off as far as it goes
    assert len(only_dials.err) == lines, "said once"
    listens = spawn(peer(1, tmp_path, *more, listen=where[1]))
    opened = listens.until_says("listening on")
    assert only_dials.until_exchanging() - opened < EXCHANGES_WITHIN + SLACK
    listens.until_exchanging()
    for each in (only_dials, listens):
        each.terminate()


# -- partitions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "seconds"), [("silent", 60.0), ("unplugged", 15.0)])
def test_two_and_one_train_on_apart_and_exchange_within_five_seconds_of_the_healing(
    hosts: Any, spawn: Any, tmp_path: Path, how: str, seconds: float
) -> None:
    net = hosts(3)
    peers = start(spawn, net, tmp_path)
    for each in peers:
        each.until_exchanging(up=2)
    if how == "silent":
        net.drop(0, 2)
        net.drop(1, 2)
    else:
        net.unplug(2)
    cut = time.monotonic()
    assert peers[0].until_says("peer 2 is down", after=cut) - cut < DOWN_WITHIN + SLACK
    assert peers[1].until_says("peer 2 is down", after=cut) - cut < DOWN_WITHIN + SLACK
    peers[2].until(lambda p: p.last["up"] == 0)
    before = [each.last["step"] for each in peers]
    while time.monotonic() < cut + seconds:
        at = time.monotonic()
        for each in peers:  # nobody ever stops
            each.until(lambda p, at=at: p.last["at"] > at, seconds=10)
        time.sleep(0.5)
    assert peers[0].last["up"] == peers[1].last["up"] == 1
    peers[0].until_exchanging(after=time.monotonic())
    net.plug(2) if how == "unplugged" else net.heal()
    healed = time.monotonic()
    for each in peers:
        took = each.until_exchanging(up=2 if each is not peers[2] else 1, after=healed) - healed
        print(f"exchanging {took:.2f} s after the healing")
        assert took < EXCHANGES_WITHIN + SLACK
    peers[2].until(lambda p: p.last["up"] == 2, EXCHANGES_WITHIN + SLACK)
    assert all(each.last["step"] > step + 20 for each, step in zip(peers, before, strict=True))
    for each in peers:
        each.until_step(each.last["step"] + 20)  # until each has heard both of the others
    for each in peers:
        each.terminate()
    for id in range(3):
        assert summary(tmp_path, id)["waits"] == 0
        steps = [record["step"] for record in metrics(tmp_path, id)]
        assert steps == list(range(1, len(steps) + 1)), "no restart, no step twice"
        assert any(len(record["teachers"]) == 2 for record in metrics(tmp_path, id)[-200:])


# -- a bad link --------------------------------------------------------------------------------------------------------


def test_peers_over_a_slow_lossy_link_learn_in_every_step_and_wait_in_none(
    hosts: Any, spawn: Any, tmp_path: Path
) -> None:
    net = hosts(3, slow_wires=True)
    for i in range(3):
        net.slow(i, delay=0.15, loss=0.05, rate=1e6, seed=i)  # from host to host: 300 ms
    peers = start(spawn, net, tmp_path, "--encoding", "float32", "--public-batch", 30)
    for each in peers:
        each.until_exchanging(up=2)
    began = [each.last["step"] for each in peers]
    memory = [each.memory() for each in peers]
    time.sleep(30.0)
    for each, step in zip(peers, began, strict=True):
        each.until_step(step + 60)  # a slow machine has made fewer by now
    grown = [each.memory() - before for each, before in zip(peers, memory, strict=True)]
    for each in peers:
        each.terminate()
    for id in range(3):
        found = [record for record in metrics(tmp_path, id) if record["step"] > began[id] + 20]
        assert summary(tmp_path, id)["waits"] == 0
        assert len(found) > 30
        assert all(record["lesson"] is not None for record in found), "a lesson in every step"
        assert max(record["age"] for record in found) < 64
        fresh = [record for record in found if record["fresh"]]
        assert {teacher for record in fresh for teacher in record["teachers"]} == {0, 1, 2} - {id}
        behind = [record["round"] - record["lesson"] for record in fresh]
        third = len(behind) // 3
        print(
            f"peer {id}: {len(found)} steps, {len(fresh)} fresh, rounds behind: median "
            f"{sorted(behind)[len(behind) // 2]}, most {max(behind)}; memory grew by {grown[id] / 1e6:.1f} MB"
        )
        assert len(fresh) > len(found) / 10
        assert statistics.median(behind[-third:]) <= max(10, 3 * statistics.median(behind[:third])), (
            "not older and older"
        )
        assert grown[id] < 30e6


def test_predictions_are_fresh_as_they_arrive_though_the_link_carries_a_fraction_of_them(
    hosts: Any, spawn: Any
) -> None:
    net = hosts(2, slow_wires=True)
    net.slow(1, delay=0.3, loss=0.0, rate=1e6)
    # 20 kB fifty times a second, each way: eight times what the link carries.
    load = ["--every", 0.02, "--rows", 256, "--classes", 40]
    one = spawn(["--id", 0, "--listen", net.address(0), *load], inside=net.inside(0), program=LOUD)
    other = spawn(["--id", 1, "--peers", net.address(0), *load], inside=net.inside(1), program=LOUD)
    for each in (one, other):
        each.until(lambda p: any(event["arrived"] for event in p.events))
    time.sleep(8.0)
    begun = [len(each.events) for each in (one, other)]
    time.sleep(25.0)
    for each, first in zip((one, other), begun, strict=True):
        found = each.events[first:]
        oldest = [event["oldest"] / 1000 for event in found if event["oldest"] is not None]
        memory = [event["memory"] for event in found]
        arrived = found[-1]["arrived"] - found[0]["arrived"]
        print(
            f"{arrived / len(found):.1f} arrive a second; age at arrival: at most {max(oldest):.2f} s; "
            f"memory {memory[0] / 1e6:.1f} to {memory[-1] / 1e6:.1f} MB"
        )
        # On the wire one takes 0.17 s + 0.3 s; it waited for the acknowledgement of the one before the last, at most,
        # and for what the wire's own queue of 64 kB holds (0.5 s).
        assert max(oldest) < 2.5
        assert statistics.median(oldest[-10:]) < max(2 * statistics.median(oldest[:10]), 1.0), "not older and older"
        assert arrived > len(found), "more than one a second"
        assert memory[-1] - memory[0] < 10e6
    for each in (one, other):
        each.terminate()


# -- names and NAT -----------------------------------------------------------------------------------------------------


def test_name_that_does_not_resolve_yet_is_dialled_until_it_does(hosts: Any, spawn: Any, tmp_path: Path) -> None:
    net = hosts(2)
    net.name(0, {})
    more = ["--clients", 2, *ENDLESS]
    first = spawn(peer(0, tmp_path, *more, listen=net.address(0), peers=["box-b.home:7000"]), inside=net.inside(0))
    second = spawn(peer(1, tmp_path, *more, listen=net.address(1)), inside=net.inside(1))
    first.until_says("cannot reach box-b.home:7000")
    first.until_step(30)
    second.until_step(1)
    lines = len(first.err)
    time.sleep(6.0)
    assert len(first.err) <= lines + 1, "the same again and again"
    net.name(0, {"box-b.home": net.ip(1)})
    resolves = time.monotonic()
    took = first.until_exchanging(after=resolves) - resolves
    print(f"exchanging {took:.2f} s after the name was there")
    assert took < EXCHANGES_WITHIN + SLACK
    second.until_exchanging()
    for each in (first, second):
        each.terminate()
    assert summary(tmp_path, 0)["waits"] == 0


def test_box_behind_nat_takes_full_part_through_the_streams_that_it_dials(
    hosts: Any, spawn: Any, tmp_path: Path
) -> None:
    net = hosts(3, behind_nat=[2])
    where = [net.address(id) for id in range(3)]
    # All are told the same; from outside nobody gets to host 2, whose own address is another, too.
    listen = [where[0], where[1], "0.0.0.0:7000"]
    more = ["--clients", 3, *ENDLESS]
    peers = [spawn(peer(id, tmp_path, *more, listen=listen[id], peers=where), inside=net.inside(id)) for id in range(3)]
    for each in peers:
        each.until_exchanging(up=2)
    for id in range(3):
        seen = status(where[id] if id < 2 else "127.0.0.1:7000", inside=net.inside(id))
        assert [n["id"] for n in seen["neighbours"] if n["up"]] == [other for other in range(3) if other != id]
    for each in peers:
        each.until_step(each.last["step"] + 30)
    for each in peers:
        each.terminate()
    for id in range(3):
        taught = {teacher for record in metrics(tmp_path, id) for teacher in record["teachers"]}
        assert taught == {0, 1, 2} - {id}
        assert summary(tmp_path, id)["refused"] == {}
