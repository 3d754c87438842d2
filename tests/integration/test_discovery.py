"""Peers that were given no address find each other: real processes, real multicast, on the loopback interface."""

import secrets
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

GROUP = "224.0.0.251"  # of mDNS
SMALL = ["--data", "digits", "--limit", 300, "--clients", 2, "--model", "mobilenet_v3_small", "--steps", 0, "--json"]
SMALL += ["--batch", 8, "--public-batch", 8, "--eval-every", 0, "--checkpoint-every", 0, "--discover", "--threads", 1]


@cache
def why_no_multicast() -> str:
    """Why multicast does not work on the loopback interface; "" if it does."""
    here = socket.inet_aton("127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver, socket.socket(type=socket.SOCK_DGRAM) as sender:
        try:
            receiver.bind(("", 0))
            receiver.settimeout(5.0)
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + here)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, here)
            sender.sendto(b"?", (GROUP, receiver.getsockname()[1]))
            receiver.recv(1)
        except OSError as error:
            return f"no multicast on the loopback interface: {error}"
    return ""


@pytest.fixture(autouse=True)
def multicast() -> None:
    if why := why_no_multicast():
        pytest.skip(why)


def peer(id: int, group: int, *more: object) -> list[object]:
    return ["peer", "--id", id, "--listen", "127.0.0.1:0", *SMALL, "--data-seed", group, *more]


def some_group() -> int:
    """A random number for a contract of its own, so that other peers on this box do not find those of the test."""
    return secrets.randbelow(2**31)


def learns(process: Any) -> bool:
    return any(event.get("up") == 1 and event.get("age") is not None for event in process.events)


def says(text: str) -> Any:
    return lambda process: any(text in line for line in process.err)


def test_two_peers_find_each_other_without_an_address_and_again_at_another_one(spawn: Any) -> None:
    group = some_group()
    first, second = (spawn(*peer(id, group)) for id in range(2))
    for process in (first, second):
        process.until(learns)
    assert says("announcing this peer on 127.0.0.1 alone, where only peers of this box hear it")(first)
    second.send_signal(signal.SIGKILL)  # its announcement is not taken back
    second.wait()
    first.until(says("peer 1 is down"))
    again = spawn(*peer(1, group))  # on another port
    again.until(learns)
    first.terminate()
    again.terminate()


def test_peers_with_keys_find_each_other_and_one_with_another_groups_keys_is_not_believed(spawn: Any) -> None:
    assert spawn("certs", "--ids", "0,1").wait() == 0
    assert spawn("certs", "--ids", "2", "--out", "others").wait() == 0
    group = some_group()
    three = ["--clients", 3]
    first, second = (spawn(*peer(id, group, *three, "--certs", f"certs/peer-{id}")) for id in range(2))
    liar = spawn(*peer(2, group, *three, "--certs", "others/peer-2"))
    for process in (first, second):
        process.until(learns)
        process.until(says("its certificate is not of an authority in this peer's ca.pem"))
        assert not says("peer 2 is up")(process)
    for process in (first, second, liar):
        process.terminate()


@pytest.mark.parametrize("keys", [False, True], ids=["open", "keys"])
def test_newcomer_without_the_public_file_fetches_it_from_a_peer_that_it_discovers(
    spawn: Any, tmp_path: Path, keys: bool
) -> None:
    split = spawn("split", "--limit", 300, "--clients", 2, "--gamma", 5, "--data-seed", some_group(), "--out", "shards")
    assert split.wait() == 0, split.err
    if keys:
        assert spawn("certs", "--ids", "0,1").wait() == 0
    certs = [["--certs", f"certs/peer-{id}"] if keys else ["--allow", 1 - id] for id in range(2)]
    small = ["--model", "mobilenet_v3_small", "--weights", "none", "--steps", 0, "--json", "--batch", 8, "--discover"]
    small += ["--eval-every", 0, "--checkpoint-every", 0]
    private = [["--private", f"folder:shards/client-{id}/private"] for id in range(2)]
    newcomer = spawn("peer", "--id", 1, *private[1], *small, *certs[1], "--out", "joined")
    newcomer.until_says("asking the group for its public file and settings")
    group = ["--public", "shards/public.safetensors", "--public-batch", 8, "--listen", "127.0.0.1:0"]
    first = spawn("peer", "--id", 0, *private[0], *small, *certs[0], *group)
    newcomer.until_says(f"fetched the public file from {'0@' if keys else ''}127.0.0.1:")
    for process in (first, newcomer):
        process.until(learns)
    assert newcomer.says("discovered peer 0 at 127.0.0.1:")
    fetched = (tmp_path / "joined" / "public.safetensors").read_bytes()
    assert fetched == (tmp_path / "shards" / "public.safetensors").read_bytes()
    for process in (first, newcomer):
        process.terminate()


def test_newcomer_that_discovers_nobody_says_so_and_stops_when_told(spawn: Any, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    nobody = ["--allow", 2**31 - 1]  # whoever else on this box announces itself is not asked
    newcomer = spawn("peer", "--id", 1, "--private", "folder:own", "--discover", *nobody, "--out", "joined")
    newcomer.until_says("looking for peers on ")
    newcomer.terminate()
    assert not (tmp_path / "joined").exists()


def test_peer_of_another_contract_is_told_of_and_left_alone(spawn: Any) -> None:
    peers = [spawn(*peer(id, some_group())) for id in range(2)]
    for id, process in enumerate(peers):
        other = f"peer {1 - id} at 127.0.0.1:"
        process.until(lambda p, other=other: any(other in s and "is of another group: contract " in s for s in p.err))
    for process in peers:
        assert not says("is up")(process)
        assert not says("cannot work with this peer")(process), "it was not even dialled"
        process.terminate()


def test_address_that_is_given_and_discovered_is_one_neighbour(spawn: Any, ports: Any) -> None:
    group, (port,) = some_group(), ports(1)
    first = spawn(*peer(0, group, "--listen", f"127.0.0.1:{port}"))
    second = spawn(*peer(1, group, "--peers", f"127.0.0.1:{port}"))
    second.until(says(f"discovered peer 0 at 127.0.0.1:{port}"))
    for process in (first, second):
        process.until(learns)
    for process in (first, second):
        assert sum("is up" in line for line in process.err) == 1
        assert not says("is down")(process)
    first.terminate()
    second.terminate()


@pytest.mark.parametrize("listen", ["[::1]:0", "192.0.2.200:7000", "nowhere.invalid:7000"])
def test_address_that_cannot_be_announced_is_a_clear_error(spawn: Any, listen: str) -> None:
    peer = spawn("peer", "--id", 0, "--listen", listen, "--insecure", *SMALL)
    assert peer.wait() == 1
    assert peer.err[-1] == (
        f"edgekd: --discover needs --listen on an IPv4 address of this box, or 0.0.0.0 for all; got {listen}"
    )


def test_without_zeroconf_it_says_what_to_install() -> None:
    peer = "from edgekd.cli import main; main(['peer', '--id', '0', '--listen', '127.0.0.1:0', '--discover'])"
    code = f"import sys; sys.modules['zeroconf'] = None; {peer}"  # as if it were not there
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr == "edgekd: --discover needs zeroconf: pip install zeroconf\n"
