"""Real processes for the tests of faults, the integration tests and the benchmarks; each output line has its time."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from edgekd.cli.fleet import free_ports
from edgekd.errors import ConfigError
from peer.transports.binding import check_bindable

DEADLINE = 300.0  # seconds: far more than anything takes, also on a slow machine
DOWN_WITHIN = 5.0  # seconds until a neighbour that is gone is seen down
EXCHANGES_WITHIN = 5.0  # seconds from a first Hello, or a healed network, to predictions
STOPS_WITHIN = 5.0  # seconds from SIGTERM to exit code 0
SLACK = 3.0  # seconds added to such a limit, since other work may use the cores

# The smallest peer: about 20 steps/s on a core.
SMALL = ["--data", "digits", "--limit", 300, "--gamma", 5, "--model", "mobilenet_v3_small"]
SMALL += ["--batch", 8, "--public-batch", 8, "--eval-every", 0, "--threads", 1]  # several share the cores


def contents(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file below the folder, except for the lock file that a killed process leaves."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != ".lock"]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


class Line(str):
    """A line that a process has written."""

    at: float  # when the line was read, in seconds of the monotonic clock


class Child(Protocol):
    """A started process; `subprocess.Popen` is one."""

    pid: int
    stdout: Any  # lines of text
    stderr: Any

    def poll(self) -> int | None: ...

    def wait(self, timeout: float) -> int: ...

    def send_signal(self, number: int) -> None: ...


class Process:
    """One process, mostly ``edgekd ...``. Threads read its output, and every wait has a deadline.

    Args:
        child: a process that leads its own process group, so that it can be killed together with its children.
    """

    def __init__(self, child: Child) -> None:
        self._child = child
        self.out: list[Line] = []
        self.err: list[Line] = []
        self._news = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(child.stdout, self.out), daemon=True),
            threading.Thread(target=self._read, args=(child.stderr, self.err), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, lines: list[Line]) -> None:
        with stream:
            for text in stream:
                line = Line(text.rstrip("\n"))
                line.at = time.monotonic()
                with self._news:
                    lines.append(line)
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    # -- its output --------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    @property
    def said(self) -> str:
        """Its stderr so far."""
        return "\n".join(list(self.err))

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines that it has printed so far, each with its time as "at"."""
        return [{"at": line.at, **json.loads(line)} for line in list(self.out) if line.startswith("{")]

    @property
    def last(self) -> dict[str, Any]:
        """The last progress that it has printed, with its time as "at"; {} if there is none."""
        for line in reversed(list(self.out)):
            if '"progress"' in line:
                return {"at": line.at, **json.loads(line)}
        return {}

    def says(self, text: str, *, after: float = 0.0) -> float | None:
        """When `text` first appeared on its stderr, not before `after`; None: it has not."""
        return next((line.at for line in list(self.err) if line.at >= after and text in line), None)

    # -- waiting -----------------------------------------------------------------------------------------------------

    def until(self, holds: Callable[["Process"], Any], seconds: float = DEADLINE) -> Any:
        """Wait until `holds(process)` is true, and return its result.

        Raises:
            AssertionError: the process has ended before, or `seconds` are over.
        """
        deadline = time.monotonic() + seconds
        with self._news:
            while not (found := holds(self)) and self.alive and (left := deadline - time.monotonic()) > 0:
                self._news.wait(min(left, 0.2))  # no line announces the end of the process
        found = found or holds(self)
        assert found or self.alive, f"ended before with code {self._child.poll()}; stderr:\n{self.said}"
        assert found, f"nothing of the kind within {seconds:.1f} s; last: {self.last}; stderr:\n{self.said}"
        return found

    def until_step(self, step: int, seconds: float = DEADLINE) -> None:
        self.until(lambda p: p.last.get("step", -1) >= step, seconds)

    def until_says(self, text: str, *, after: float = 0.0, seconds: float = DEADLINE) -> float:
        """Wait until `text` appears on its stderr, not before `after`; return when."""
        return float(self.until(lambda p: p.says(text, after=after), seconds))

    def until_exchanging(self, up: int = 1, *, after: float = 0.0, seconds: float = DEADLINE) -> float:
        """Wait until it reports a lesson and at least `up` neighbours, not before `after`; return when."""

        def found(process: "Process") -> float | None:
            for line in list(process.out):
                if line.at >= after and '"progress"' in line:
                    event = json.loads(line)
                    if event["up"] >= up and event["age"] is not None:
                        return line.at
            return None

        return float(self.until(found, seconds))

    def wait(self, timeout: float = DEADLINE) -> int:
        """Wait for its end; return its exit code."""
        code = self._child.wait(timeout)
        for reader in self._readers:
            reader.join(timeout)
        return code

    # -- signals -----------------------------------------------------------------------------------------------------

    def send_signal(self, number: int) -> None:
        self._child.send_signal(number)

    def terminate(self) -> float:
        """Send SIGTERM and wait until it ends with exit code 0; return the seconds that it took."""
        began = time.monotonic()
        self.send_signal(signal.SIGTERM)
        code = self.wait()
        assert code == 0, self.said
        return time.monotonic() - began

    def kill9(self) -> float:
        """Kill it with SIGKILL; return when."""
        self.send_signal(signal.SIGCONT)
        self.send_signal(signal.SIGKILL)
        at = time.monotonic()
        assert self.wait() == -signal.SIGKILL
        return at

    def close(self) -> None:
        """Kill what is left of it and of its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self.wait()

    # -- what the kernel reports -------------------------------------------------------------------------------------

    def memory(self) -> int:
        """Its anonymous resident memory (not backed by a file), in bytes."""
        return self._status("RssAnon") * 1024

    def data_size(self) -> int:
        """The size that RLIMIT_DATA limits, in bytes."""
        return self._status("VmData") * 1024

    def files(self) -> int:
        """The number of its open files."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def children(self) -> list[str]:
        """The process ids of its children."""
        return Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        raise KeyError(name)


def start(
    arguments: Sequence[object],
    folder: Path,
    *,
    inside: Sequence[str] = (),
    program: Sequence[str] = (sys.executable, "-m", "edgekd"),
    environment: dict[str, str] | None = None,
) -> Process:
    """Start a process.

    Args:
        arguments: of `program`.
        folder: its working folder.
        inside: words before the command, such as ``ip netns exec NAME``.
        program: the program, by default ``python -m edgekd``.
        environment: variables to add to those of this process.
    """
    child = subprocess.Popen(
        [*inside, *program, *map(str, arguments)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    return Process(child)


# -- peers -------------------------------------------------------------------------------------------------------------


def peer(id: int, out: Path, *more: object, listen: str | None, peers: Sequence[str] = ()) -> list[object]:
    """The arguments of ``edgekd`` for a small peer; flags in `more` override the others."""
    where = ["--listen", listen, "--insecure"] if listen else []  # hosts made for one test can be trusted
    where += ["--peers", ",".join(peers)] if peers else []
    return ["peer", "--id", id, *where, "--out", out / f"peer-{id}", "--json", *SMALL, *more]


def summary(out: Path, id: int) -> dict[str, Any]:
    """The entry of a peer in its ``summary.json``."""
    (only,) = json.loads((out / f"peer-{id}" / "summary.json").read_text())["peers"]
    assert isinstance(only, dict)
    return only


def metrics(out: Path, id: int) -> list[dict[str, Any]]:
    """The records of a peer's steps, from its ``metrics.jsonl``."""
    lines = (out / f"peer-{id}" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def status(address: str, *, inside: Sequence[str] = ()) -> dict[str, Any]:
    """Run ``edgekd status ADDRESS --json``, if wanted inside a namespace; return the entry of the peer."""
    command = [*inside, sys.executable, "-m", "edgekd", "status", address, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.stdout, done.stderr
    (only,) = json.loads(done.stdout)
    assert isinstance(only, dict)
    return only


async def _ask(address: str, transport: str) -> Any:
    from edgekd.protocol.frames import WITHOUT_PREDICTIONS
    from peer.network.asking import ask_status
    from peer.transports.by_name import make_transport

    made = make_transport(transport, WITHOUT_PREDICTIONS)
    try:
        return await ask_status(made, address, timeout=3.0)
    finally:
        await made.close()


def until_status(
    address: str, holds: Callable[[Any], bool], seconds: float = DEADLINE, *, transport: str = "grpc"
) -> Any:
    """Ask the peer at `address` for its status again and again, until `holds(status)` is true; return the status."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            last = asyncio.run(_ask(address, transport))
            if holds(last):
                return last
        time.sleep(0.05)
    raise AssertionError(f"nothing of the kind within {seconds:.1f} s; the last status: {last}")


def neighbour(status: Any, id: int) -> Any:
    """The neighbour with this id in a status; None: there is none."""
    return next((each for each in status.neighbours if each.id == id), None)


# -- ports -------------------------------------------------------------------------------------------------------------


def addresses(count: int) -> list[str]:
    """Make `count` addresses "127.0.0.1:PORT" with free ports."""
    return [f"127.0.0.1:{port}" for port in free_ports(count)]


def is_free(address: str) -> bool:
    """Whether a new listener can bind this address."""
    try:
        check_bindable(address)
    except ConfigError:
        return False
    return True
