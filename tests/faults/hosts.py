"""Hosts on one switch as network namespaces, with faults, and shares of a core. Needs Linux and root.

Each host has its own address (10.77.0.1 for host 0 and so on). A process starts in host `i` if its command follows
`Hosts.inside(i)`. The network of the box itself is not changed. This needs only ``ip`` and a cgroup file system, and
``iptables`` for NAT (network address translation). Delay, loss and bandwidth are made by `slow_wire.py`, since many
kernels lack tc's netem.
"""

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PORT = 7000
NOBODY = "02:00:00:00:00:99"  # the hardware address of no host
CGROUP = Path("/sys/fs/cgroup")
_numbers = itertools.count()


def run(*command: object) -> str:
    """Run a command and return its output.

    Raises:
        OSError: the command has failed.
    """
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


@cache
def why_no_hosts() -> str:
    """The reason why this machine cannot make hosts; "" if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    if shutil.which("ip") is None:
        return "network namespaces need ip (iproute2)"
    try:
        with Hosts(2) as hosts:
            hosts.drop(0, 1)
            hosts.heal()
    except OSError as error:
        return f"no network namespaces: {error}"
    return ""


@cache
def why_no_nat() -> str:
    """The reason why this machine cannot put a host behind NAT; "" if it can."""
    if why := why_no_hosts():
        return why
    if shutil.which("iptables") is None:
        return "NAT needs iptables"
    try:
        Hosts(1, behind_nat=[0]).close()
    except OSError as error:
        return f"no NAT: {error}"
    return ""


class Hosts:
    """A context manager that makes hosts, numbered from 0.

    Args:
        count: of hosts, at most 99.
        behind_nat: the hosts that have their own router in front of them, so that they can only dial out.
        slow_wires: whether `slow` will be used. Then the kernel's checksum and segmentation shortcuts are off.
    """

    def __init__(self, count: int, *, behind_nat: Iterable[int] = (), slow_wires: bool = False) -> None:
        self.count, self._nat, self._slow = count, frozenset(behind_nat), slow_wires
        self._name = f"ekd{os.getpid()}n{next(_numbers)}"
        self._made: list[str] = []
        self._wires: dict[int, subprocess.Popen[bytes]] = {}
        try:
            self._switch = self._namespace("sw")
            run("ip", "-n", self._switch, "link", "add", "br0", "type", "bridge")
            run("ip", "-n", self._switch, "link", "set", "dev", "br0", "up")
            for i in range(count):
                self._add(i)
        except OSError:
            self.close()
            raise

    def __enter__(self) -> "Hosts":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ip(self, i: int) -> str:
        """The address at which other hosts see host `i`."""
        return f"10.77.0.{i + 1}"

    def address(self, i: int) -> str:
        """The "HOST:PORT" on which a peer in host `i` listens."""
        return f"{self.ip(i)}:{PORT}"

    def inside(self, i: int) -> list[str]:
        """The words to put before a command, so that it runs in host `i`."""
        return ["ip", "netns", "exec", self._host(i)]

    def close(self) -> None:
        """Remove all hosts."""
        for wire in self._wires.values():
            wire.kill()
            wire.wait()
        self._wires = {}
        for name in self._made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
            shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)
        self._made = []

    # -- faults ------------------------------------------------------------------------------------------------------

    def unplug(self, i: int) -> None:
        """Unplug host `i`'s cable: nothing that the host sends gets out, not even the end of a connection."""
        run("ip", "-n", self._switch, "link", "set", "dev", f"p{i}", "down")

    def plug(self, i: int) -> None:
        """Plug host `i`'s cable in again."""
        run("ip", "-n", self._switch, "link", "set", "dev", f"p{i}", "up")

    def drop(self, i: int, j: int) -> None:
        """Drop all packets between hosts `i` and `j`, without any error message to either."""
        for here, there in ((i, j), (j, i)):
            neighbour = [self.ip(there), "lladdr", NOBODY, "nud", "permanent", "dev", "eth0"]
            run("ip", "-n", self._host(here), "neigh", "replace", *neighbour)

    def hear(self, i: int, j: int) -> None:
        """Undo `drop(i, j)`."""
        for here, there in ((i, j), (j, i)):
            run("ip", "-n", self._host(here), "neigh", "flush", "to", self.ip(there), "dev", "eth0", "nud", "permanent")

    def heal(self) -> None:
        """Undo every `drop`."""
        for i in range(self.count):
            run("ip", "-n", self._host(i), "neigh", "flush", "dev", "eth0", "nud", "permanent")

    def name(self, i: int, names: dict[str, str], *, server: str = "") -> None:
        """Set the names that host `i` resolves without a DNS server. Call this before a process starts in the host.

        A later call changes the names, also for processes that run in the host already.

        Args:
            i: the host.
            names: addresses by name.
            server: the address of a DNS server for the host; "": that of this box.
        """
        folder = Path("/etc/netns") / self._host(i)
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{address} {name}\n" for name, address in {"localhost": "127.0.0.1", **names}.items()]
        with (folder / "hosts").open("w") as file:  # not replaced: this file is mounted over /etc/hosts
            file.writelines(lines)
        if server:
            (folder / "resolv.conf").write_text(f"nameserver {server}\n")

    def slow(self, i: int, *, delay: float = 0.0, loss: float = 0.0, rate: float = 0.0, seed: int = 0) -> None:
        """Make host `i`'s cable slow, in both directions.

        Args:
            i: the host.
            delay: seconds.
            loss: share of the packets, in [0, 1].
            rate: bits/s; 0: without limit.
            seed: of the loss.
        """
        assert self._slow, "Hosts(..., slow_wires=True)"
        if i in self._wires:
            self._wires[i].kill()
            self._wires.pop(i).wait()
        command = [sys.executable, str(Path(__file__).with_name("slow_wire.py")), f"p{i}", f"w{i}"]
        command += [str(number) for number in (delay, loss, rate, seed)]
        self._wires[i] = subprocess.Popen(["ip", "netns", "exec", self._switch, *command])

    # -- how it is built ---------------------------------------------------------------------------------------------

    def _host(self, i: int) -> str:
        return f"{self._name}h{i}"

    def _namespace(self, name: str) -> str:
        full = f"{self._name}{name}"
        run("ip", "netns", "add", full)
        self._made.append(full)
        run("ip", "-n", full, "link", "set", "lo", "up")
        return full

    def _add(self, i: int) -> None:
        host = self._namespace(f"h{i}")
        outer = self._namespace(f"r{i}") if i in self._nat else host
        self._cable(outer, "eth0", self._switch, f"p{i}")
        run("ip", "-n", outer, "addr", "add", f"{self.ip(i)}/24", "dev", "eth0")
        if outer != host:
            self._cable(host, "eth0", outer, "lan0")
            run("ip", "-n", host, "addr", "add", "192.168.7.2/24", "dev", "eth0")
            run("ip", "-n", outer, "addr", "add", "192.168.7.1/24", "dev", "lan0")
            run("ip", "-n", host, "route", "add", "default", "via", "192.168.7.1")
            run("ip", "netns", "exec", outer, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
            masquerade = ["-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE"]
            run("ip", "netns", "exec", outer, "iptables", *masquerade)
        if self._slow:
            run("ip", "netns", "exec", outer, sys.executable, Path(__file__).with_name("slow_wire.py"), "eth0")
            self._cable(self._switch, f"w{i}", self._switch, f"s{i}")
            run("ip", "-n", self._switch, "link", "set", "dev", f"s{i}", "master", "br0")
            self.slow(i)
        else:
            run("ip", "-n", self._switch, "link", "set", "dev", f"p{i}", "master", "br0")

    def _cable(self, one: str, name: str, other: str, other_name: str) -> None:
        run("ip", "-n", one, "link", "add", name, "type", "veth", "peer", "name", other_name, "netns", other)
        run("ip", "-n", one, "link", "set", "dev", name, "up")
        run("ip", "-n", other, "link", "set", "dev", other_name, "up")


# -- shares of a core --------------------------------------------------------------------------------------------------


@cache
def why_no_quota() -> str:
    """The reason why this machine cannot limit a process to a share of a core; "" if it can."""
    try:
        Quota(0.5).close()
    except OSError as error:
        return f"no CPU quota: {error}"
    return ""


class Quota:
    """A cgroup (version 1 or 2) whose processes together get at most `cores` cores.

    Raises:
        OSError: this machine or this user cannot make one.
    """

    PERIOD = 100_000  # microseconds

    def __init__(self, cores: float) -> None:
        if sys.platform != "linux" or os.geteuid() != 0:
            raise OSError("cgroups need Linux and root")
        first = CGROUP / "cpu"
        root = first if (first / "cpu.cfs_quota_us").exists() or (first / "cgroup.procs").exists() else CGROUP
        if root == CGROUP and "cpu" not in (root / "cgroup.subtree_control").read_text().split():
            (root / "cgroup.subtree_control").write_text("+cpu")
        self.folder, self._root = root / f"ekd{os.getpid()}n{next(_numbers)}", root
        self.folder.mkdir()
        try:
            self.limit(cores)
        except OSError:
            self.close()
            raise

    def limit(self, cores: float) -> None:
        """Change the limit to `cores` cores."""
        quota = int(cores * self.PERIOD)
        if self._root == CGROUP:
            (self.folder / "cpu.max").write_text(f"{quota} {self.PERIOD}")
        else:
            (self.folder / "cpu.cfs_period_us").write_text(str(self.PERIOD))
            (self.folder / "cpu.cfs_quota_us").write_text(str(quota))

    @property
    def inside(self) -> list[str]:
        """The words to put before a command, so that it runs in this cgroup."""
        return ["sh", "-c", f'echo $$ > {self.folder}/cgroup.procs && exec "$@"', "sh"]

    def close(self) -> None:
        """Remove the cgroup. Processes that still run in it go on without a limit."""
        for _ in range(50):
            try:
                for pid in (self.folder / "cgroup.procs").read_text().split():
                    (self._root / "cgroup.procs").write_text(pid)
                self.folder.rmdir()
            except OSError:
                time.sleep(0.1)  # a process that has just ended stays in it for a moment
            else:
                return
        raise OSError(f"cannot remove {self.folder}")
