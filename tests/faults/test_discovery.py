"""Discovery between hosts: no address is given, cables are pulled, multicast does not get through."""

import shutil
import time
from typing import Any

import pytest
from hosts import run
from processes import EXCHANGES_WITHIN, SLACK, peer

pytest.importorskip("zeroconf")

DISCOVER = ["--clients", 2, "--steps", 0, "--checkpoint-every", 0, "--discover"]
EVERYWHERE = "0.0.0.0:7000"


def start(spawn: Any, net: Any, out: Any, id: int, *more: object) -> Any:
    return spawn(peer(id, out, *DISCOVER, *more, listen=EVERYWHERE), inside=net.inside(id))


def test_hosts_find_each_other_and_are_together_at_once_when_a_cable_is_put_back(
    spawn: Any, hosts: Any, tmp_path: Any
) -> None:
    net = hosts(2)
    peers = [start(spawn, net, tmp_path, id) for id in range(2)]
    for id, process in enumerate(peers):
        process.until_says(f"discovered peer {1 - id} at {net.address(1 - id)}")
        process.until_exchanging()
    net.unplug(1)
    for id, process in enumerate(peers):
        process.until_says(f"peer {1 - id} is down")
    net.plug(1)
    healed = time.monotonic()
    for process in peers:
        assert process.until_exchanging(after=healed) - healed < EXCHANGES_WITHIN + SLACK
    for process in peers:
        process.terminate()


def test_where_multicast_does_not_get_through_it_says_so_and_given_addresses_work(
    spawn: Any, hosts: Any, tmp_path: Any
) -> None:
    if shutil.which("iptables") is None:
        pytest.skip("dropping multicast needs iptables")
    net = hosts(2)
    for i in range(2):
        run(*net.inside(i), "iptables", "-A", "INPUT", "-p", "udp", "--dport", "5353", "-j", "DROP")
    peers = [
        start(spawn, net, tmp_path, 0),
        start(spawn, net, tmp_path, 1, "--peers", net.address(0)),
    ]
    for process in peers:
        process.until_exchanging()
        process.until_says("discovery has found nobody so far: nobody else is up, or multicast does not get through")
        assert process.says("discovered") is None
    for process in peers:
        process.terminate()


def test_box_whose_network_comes_late_is_found_then(spawn: Any, hosts: Any, tmp_path: Any) -> None:
    net = hosts(2)
    address = [f"{net.ip(1)}/24", "dev", "eth0"]
    run(*net.inside(1), "ip", "addr", "del", *address)
    run(*net.inside(1), "ip", "addr", "flush", "dev", "lo")
    first, late = (start(spawn, net, tmp_path, id) for id in range(2))
    late.until_says("discovery does not work here: no address of this box takes part in multicast")
    late.until_step(1)
    run(*net.inside(1), "ip", "addr", "add", *address)
    late.until_says(f"discovered peer 0 at {net.address(0)}")
    for process in (first, late):
        process.until_exchanging()
    first.terminate()
    late.terminate()
