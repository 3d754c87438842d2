"""Two boxes behind NAT, and what may lie between them: the recipes of docs/networks.md, with keys from end to end."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from processes import DEADLINE, EXCHANGES_WITHIN, SLACK, SMALL, Process, metrics
from recipes import commands, recipe

from edgekd.keys.certificates import DAYS
from edgekd.keys.keyring import make_keys

BOXES = {"box-a": 0, "box-b": 1, "relay": 2}  # hosts
NOBODY = "10.77.0.250"  # a DNS server that never answers
RECORDS = {20: "change cipher spec", 21: "alert", 22: "handshake", 23: "application data"}  # of TLS, by type


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            pytest.skip(f"needs {program}")


class Boxes:
    """The three computers, and what runs on them."""

    def __init__(self, net: Any, spawn: Callable[..., Process], folder: Path) -> None:
        self.net, self._spawn, self.folder = net, spawn, folder
        make_keys(folder / "certs", [0, 1, 2], datetime.now(timezone.utc), DAYS, renew=False)
        for host in BOXES.values():
            net.name(host, {"relay": net.ip(BOXES["relay"])}, server=NOBODY)

    def run(self, box: str, command: str, **more: Any) -> Process:
        """Start a command of the page on a box."""
        return self._spawn(["-c", f"exec {command}"], inside=self.net.inside(BOXES[box]), program=["bash"], **more)

    def peer(self, box: str, command: str) -> Process:
        """Start a peer by a command of the page."""
        program, *arguments = command.split()
        assert (program, arguments[0], arguments[-1]) == ("edgekd", "peer", "...")
        rest = ["--json", "--out", f"peer-{arguments[arguments.index('--id') + 1]}", "--clients", 3]
        rest += [*SMALL, "--steps", 0, "--checkpoint-every", 0]
        return self._spawn([*arguments[:-1], *rest], inside=self.net.inside(BOXES[box]))

    def ask(self, box: str, address: str, keys: str) -> "subprocess.CompletedProcess[str]":
        """``edgekd status`` from a box."""
        command = [sys.executable, "-m", "edgekd", "status", address, "--certs", f"certs/{keys}", "--json"]
        inside = self.net.inside(BOXES[box])
        return subprocess.run(
            [*inside, *command], cwd=self.folder, capture_output=True, text=True, timeout=DEADLINE, check=False
        )


@pytest.fixture
def boxes(hosts: Any, spawn: Callable[..., Process], tmp_path: Path) -> Boxes:
    return Boxes(hosts(3, behind_nat=[0, 1]), spawn, tmp_path)


@pytest.fixture
def ssh(boxes: Boxes) -> str:
    """Start an SSH server on the relay; return the ``ssh`` command with options for its address and its keys."""
    need("sshd", "ssh", "ssh-keygen")
    folder = boxes.folder
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    server = [f"HostKey {folder}/host", f"AuthorizedKeysFile {folder}/user.pub", "PidFile none", "StrictModes no"]
    server += ["UsePAM no", "PasswordAuthentication no"]
    (folder / "sshd_config").write_text("\n".join(server) + "\n")
    client = ["User root", f"IdentityFile {folder}/user", "IdentitiesOnly yes", "StrictHostKeyChecking no"]
    client += ["UserKnownHostsFile /dev/null", "LogLevel ERROR", "ConnectionAttempts 30"]
    (folder / "ssh_config").write_text("\n".join(client) + "\n")
    # A session outlives the server, and would hold its output open.
    boxes.run("relay", f"/usr/sbin/sshd -D -E {folder}/sshd.log -f {folder}/sshd_config > /dev/null 2>&1")
    until_open(boxes, "relay", 22)
    return f"ssh -F {folder}/ssh_config"


def until_open(boxes: Boxes, box: str, port: int) -> None:
    """Wait until something listens at a port of a box."""
    deadline = time.monotonic() + DEADLINE
    while True:
        tables = subprocess.run(
            [*boxes.net.inside(BOXES[box]), "cat", "/proc/net/tcp", "/proc/net/tcp6"], capture_output=True, check=True
        ).stdout.decode()
        rows = [line.split() for line in tables.splitlines()]
        if any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows if len(row) > 3):
            return
        assert time.monotonic() < deadline, f"nothing listens at port {port} of {box}"
        time.sleep(0.05)


def taught_by(folder: Path, id: int) -> set[int]:
    return {teacher for record in metrics(folder, id) for teacher in record["teachers"]}


def test_two_boxes_behind_nat_learn_from_a_peer_that_both_can_reach(boxes: Boxes, tmp_path: Path) -> None:
    peers = [boxes.peer(box, *commands(f"public {box}")) for box in ("box-a", "box-b", "relay")]
    for process in peers[:2]:
        process.until_exchanging()
    peers[2].until_exchanging(up=2)
    for process in peers:
        process.until_step(process.last["step"] + 20)
        process.terminate()
    assert [taught_by(tmp_path, id) for id in range(3)] == [{2}, {2}, {0, 1}]


def test_two_boxes_behind_nat_teach_each_other_through_tunnels_of_ssh_and_again_after_one_was_cut(
    boxes: Boxes, ssh: str, tmp_path: Path
) -> None:
    peers, tunnels = [], []
    for box in ("box-a", "box-b"):
        tunnel, command = commands(f"ssh {box}")
        tunnels.append(boxes.run(box, tunnel.replace("ssh", ssh, 1)))
        until_open(boxes, "relay" if box == "box-a" else "box-b", 7100)
        peers.append(boxes.peer(box, command))
    for process in peers:
        process.until_exchanging()
    tunnels[0].send_signal(signal.SIGKILL)
    cut = time.monotonic()
    peers[1].until_says("peer 0 is down", after=cut)
    boxes.run("box-a", commands("ssh box-a")[0].replace("ssh", ssh, 1))
    until_open(boxes, "relay", 7100)
    mended = time.monotonic()
    for process in peers:
        took = process.until_exchanging(after=mended) - mended
        print(f"exchanging {took:.2f} s after the tunnel was there again")
        assert took < EXCHANGES_WITHIN + SLACK
    for process in peers:
        process.terminate()
    assert [taught_by(tmp_path, id) for id in range(2)] == [{1}, {0}]


@pytest.mark.parametrize("program", ["socat", "haproxy"])
def test_relay_that_everybody_reaches_connects_two_boxes_behind_nat_and_learns_nothing(
    boxes: Boxes, ssh: str, tmp_path: Path, program: str
) -> None:
    need(program)
    tunnel, command = commands("relay box-a")
    boxes.run("box-a", tunnel.replace("ssh", ssh, 1))
    first = boxes.peer("box-a", command)
    first.until_says("listening on")
    until_open(boxes, "relay", 7100)
    if program == "socat":
        (relay,) = commands("socat relay")
        boxes.run("relay", relay.replace("socat", f"socat -r {tmp_path}/sent -R {tmp_path}/received", 1))
    else:
        (tmp_path / "haproxy.cfg").write_text(recipe("haproxy haproxy.cfg"))
        boxes.run("relay", "haproxy -f haproxy.cfg")
    until_open(boxes, "relay", 7000)
    second = boxes.peer("box-b", *commands("relay box-b"))
    for process in (first, second):
        process.until_exchanging()
    if program == "socat":
        for side in ("sent", "received"):
            found = kinds_of_tls(tmp_path / side)
            print(f"{side}: {found}")
            assert found["application data"] > 5, "predictions, heartbeats"
            assert found["handshake"] <= 2, "no more than the hellos, which hold no certificate in TLS 1.3"
        assert b"peer-0.edgekd" in (tmp_path / "sent").read_bytes(), "whom box-b asks for, as the page says"
        assert b"peer-1.edgekd" not in (tmp_path / "sent").read_bytes()

    asked = boxes.ask("box-b", "0@relay:7000", "peer-1")
    assert asked.returncode == 0, asked.stdout
    mistaken = boxes.ask("box-b", "2@relay:7000", "peer-1")
    assert mistaken.returncode == 1
    assert "what listens there is not peer 2: its certificate is for peer-0.edgekd" in mistaken.stdout
    for process in (first, second):
        process.terminate()
    assert [taught_by(tmp_path, id) for id in range(2)] == [{1}, {0}]


def kinds_of_tls(path: Path) -> dict[str, int]:
    """How many records of each kind a stream of TLS holds; the last may be incomplete. Anything else is an error."""
    data, at, found = path.read_bytes(), 0, dict.fromkeys(RECORDS.values(), 0)
    while at + 5 <= len(data):
        kind, version, length = data[at], data[at + 1 : at + 3], int.from_bytes(data[at + 3 : at + 5], "big")
        assert kind in RECORDS, f"no TLS at {at}: {data[at : at + 40]!r}"
        assert version in (b"\x03\x01", b"\x03\x03")
        found[RECORDS[kind]] += 1
        at += 5 + length
    return found


def test_two_boxes_behind_nat_teach_each_other_over_wireguard(boxes: Boxes, tmp_path: Path) -> None:
    need("wg", "wg-quick", "wireguard-go")
    private, public = {}, {}
    for box in BOXES:
        private[box] = subprocess.run(["wg", "genkey"], capture_output=True, text=True, check=True).stdout.strip()
        made = subprocess.run(["wg", "pubkey"], input=private[box], capture_output=True, text=True, check=True)
        public[box] = made.stdout.strip()
    of_a = recipe("wireguard box-a.conf")
    of_b = of_a.replace("10.9.0.2", "10.9.0.3").replace("BOX-A", "BOX-B")
    for box, text in (("box-a", of_a), ("box-b", of_b), ("relay", recipe("wireguard relay.conf"))):
        for other in BOXES:
            text = text.replace(f"PUBLIC-KEY-OF-{other.upper()}", public[other])
            text = text.replace(f"PRIVATE-KEY-OF-{other.upper()}", private[other])
        (tmp_path / box).mkdir()
        (tmp_path / box / "wg0.conf").write_text(text)
        (tmp_path / box / "wg0.conf").chmod(0o600)
        # The three share a file system, and wireguard-go's socket is a file: each gets a folder of its own for it.
        up = f"mkdir -p /run/wireguard && mount -t tmpfs none /run/wireguard && wg-quick up {tmp_path}/{box}/wg0.conf"
        boxes.run(box, f"bash -c '{up} && echo is up >&2 && sleep infinity'").until_says("is up")
    peers = [boxes.peer(box, *commands(f"wireguard {box}")) for box in ("box-a", "box-b")]
    for process in peers:
        process.until_exchanging()
    for process in peers:
        process.terminate()
    assert [taught_by(tmp_path, id) for id in range(2)] == [{1}, {0}]
