"""Edge boxes on this machine: each has its own network card (a network namespace), a CPU quota and its processes."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests" / "faults"))

from hosts import CGROUP, Hosts, Quota, why_no_hosts, why_no_quota

__all__ = ["CGROUP", "Box", "Hosts", "Usage", "why_no_boxes"]

PRIORITY = 8192  # cpu.shares; 1024 is that of the rest of the machine


@dataclass(frozen=True, slots=True)
class Usage:
    """What a box has used until now."""

    time: float  # seconds since the epoch
    processor_seconds: float
    bytes: int  # sent and received through its network card, with all headers
    loopback: int  # bytes between its own processes
    memory: int  # bytes that are resident now, of all its processes together


def why_no_boxes() -> str:
    """The reason why this machine cannot make boxes; "" if it can."""
    return why_no_hosts() or why_no_quota()


class Box:
    """One box.

    Args:
        hosts: the network.
        number: which host of it this box is.
        cores: of its CPU quota.
    """

    def __init__(self, hosts: Hosts, number: int, cores: float) -> None:
        self.cores, self.address = cores, hosts.address(number)
        self._quota = Quota(cores)
        self._folders = [self._quota.folder]
        self._shares = self._quota.folder / "cpu.shares"
        if (CGROUP / "cpuacct").is_dir():  # version 1
            self._folders.append(CGROUP / "cpuacct" / self._quota.folder.name)
            self._folders[1].mkdir(exist_ok=True)
            self._shares.write_text(str(PRIORITY))
        self._children: list[subprocess.Popen[bytes]] = []
        self._inside = hosts.inside(number)
        self._keeper = subprocess.Popen([*self._inside, "sleep", "infinity"])  # its /proc shows the network card

    def start(self, command: Sequence[str], log: Path, env: Mapping[str, str], out: Path | None = None) -> int:
        """Start a process in this box; returns its id.

        Args:
            command: the program and its arguments.
            log: the file to which it writes stderr, and stdout unless there is `out`.
            env: variables to add to those of this process.
            out: the file to which it writes stdout.
        """
        join = "".join(f"echo $$ > {folder}/cgroup.procs && " for folder in self._folders) + 'exec "$@"'
        with log.open("ab") as errors, (out or log).open("ab") as output:
            child = subprocess.Popen(
                ["sh", "-c", join, "sh", *self._inside, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors if out else output,
                env={**os.environ, **env},
                cwd=log.parent,
                start_new_session=True,
            )
        self._children.append(child)
        return child.pid

    def limit(self, cores: float) -> None:
        """Change the CPU quota."""
        self._quota.limit(cores)

    @property
    def shares(self) -> int | None:
        """Its priority now, since whoever runs the machine may have changed it; None with cgroups version 2."""
        return int(self._shares.read_text()) if self._shares.exists() else None

    @property
    def running(self) -> bool:
        """Whether a process of it runs, also one that has only just been started and is not in the cgroup yet."""
        begun = [child for child in self._children if child.poll() is None]
        return bool(begun or self._pids())

    def kill(self) -> None:
        """SIGKILL for all its processes, as if the power were cut."""
        for _ in range(100):
            if not self.running:
                return
            for pid in {*self._pids(), *(child.pid for child in self._children if child.poll() is None)}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def usage(self) -> Usage:
        if len(self._folders) == 2:
            used = int((self._folders[1] / "cpuacct.usage").read_text()) / 1e9
        else:
            used = int((self._folders[0] / "cpu.stat").read_text().split()[1]) / 1e6
        network = {}
        for line in Path(f"/proc/{self._keeper.pid}/net/dev").read_text().splitlines()[2:]:
            name, _, numbers = line.partition(":")
            received, sent = int(numbers.split()[0]), int(numbers.split()[8])
            network[name.strip()] = received, sent
        return Usage(time.time(), used, sum(network["eth0"]), network["lo"][1], sum(map(_resident, self._pids())))

    def close(self) -> None:
        """End all its processes and remove it."""
        self.kill()
        self._keeper.kill()
        for child in (self._keeper, *self._children):
            child.wait()
        self._quota.close()
        for folder in self._folders[1:]:
            _remove(folder)

    def _pids(self) -> list[int]:
        return [int(pid) for pid in (self._folders[0] / "cgroup.procs").read_text().split()]


def _remove(cgroup: Path) -> None:
    """Remove a cgroup; a process that has just been killed stays in it for a moment."""
    for _ in range(50):
        try:
            return cgroup.rmdir()
        except OSError:
            time.sleep(0.1)
    raise OSError(f"cannot remove {cgroup}")


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has ended
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
