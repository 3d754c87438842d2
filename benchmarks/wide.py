"""Measures what a peer with few neighbours costs in groups of 4, 8 and 16 peers: it should be the same in all of them.

    python benchmarks/wide.py [--peers 4,8,16] [--topology ring] [--seconds 60] [--share 0.05]

Needs Linux and root. Each peer is a real process on its own host (a network namespace). Between hosts a packet takes
100 ms, and one in a hundred is lost. In all groups the shards have the same size, and each peer has the same share of a
core, so small that 16 peers do not fill two cores. The figures are of a time without changes, after all peers have
begun to exchange with their neighbours. Processor time is that of the training thread (PyTorch has one thread here),
and that of all other threads, which belong to the network. Memory is private memory: what the kernel shares between
processes, such as PyTorch's libraries, does not count.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "faults"))

from hosts import Hosts, Quota, why_no_hosts, why_no_quota
from processes import SMALL, Process, metrics, start, summary

from edgekd.simulation.topology import neighbours

START_WITHIN = 1200.0  # seconds
DELAY, LOSS = 0.1, 0.01  # seconds and share of packets from host to host, over two cables
TICK = os.sysconf("SC_CLK_TCK")  # the kernel's units in a second of processor time
SETTINGS = [*SMALL, "--limit", 1600, "--steps", 0, "--checkpoint-every", 0, "--threads", 1]


@dataclass(frozen=True)
class Spent:
    """The steps, bytes and processor time of a peer since its start."""

    step: int
    bytes_sent: int
    training: float  # seconds of processor time of the training thread
    network: float  # the same of all other threads


def spent(process: Process) -> Spent:
    """The steps, bytes and processor time of a peer until now."""
    used = {task.name: processor_time(task / "stat") for task in Path(f"/proc/{process.pid}/task").iterdir()}
    training = used.pop(str(process.pid))
    return Spent(process.last["step"], process.last["bytes_sent"], training, sum(used.values()))


def processor_time(stat: Path) -> float:
    """The processor time of one thread in seconds, from its file ``stat`` in /proc."""
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


@contextmanager
def group(graph: tuple[tuple[int, ...], ...], largest: int, share: float) -> Iterator[tuple[list[Process], Path]]:
    """Start peers, wait until all exchange with their neighbours, and limit each to a share of a core.

    Args:
        graph: for each peer the ids of its neighbours.
        largest: size of the largest group, into whose shards the data is split.
        share: of a core.

    Yields the processes, and the folder with their folders.
    """
    with ExitStack() as stack:
        out = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wide-")))
        net = stack.enter_context(Hosts(len(graph), slow_wires=True))
        quotas = [Quota(2.0) for _ in graph]
        for quota in quotas:
            stack.callback(quota.close)
        peers: list[Process] = []
        for id, others in enumerate(graph):
            net.slow(id, delay=DELAY / 2, loss=LOSS / 2, seed=id)
            arguments = ["peer", "--id", id, "--listen", net.address(id), "--insecure"]  # its own hosts can be trusted
            arguments += ["--peers", ",".join(net.address(other) for other in others), "--out", out / f"peer-{id}"]
            arguments += ["--json", *SETTINGS, "--clients", largest]
            peers.append(start(arguments, out, inside=[*quotas[id].inside, *net.inside(id)]))
            stack.callback(peers[-1].close)
        for process, others in zip(peers, graph, strict=True):
            process.until_exchanging(up=len(others), seconds=START_WITHIN)
        for quota in quotas:
            quota.limit(share)
        yield peers, out


def measure(topology: str, count: int, largest: int, seconds: float, share: float) -> str:
    """Run one group and return its row of the table."""
    graph = neighbours(topology, count, seed=0)
    with group(graph, largest, share) as (peers, out):
        time.sleep(5.0)
        before, began = [spent(process) for process in peers], time.monotonic()
        time.sleep(seconds)
        after, took = [spent(process) for process in peers], time.monotonic() - began
        memory = [process.memory() / 1e6 for process in peers]
        for process in peers:
            process.terminate()
        records = [record for id in range(count) for record in counted(out, id, before[id].step, after[id].step)]
        waits = sum(summary(out, id)["waits"] for id in range(count))
    pairs = list(zip(before, after, strict=True))
    steps = [last.step - first.step for first, last in pairs]
    sent = sum(last.bytes_sent - first.bytes_sent for first, last in pairs)
    network = [1000 * (last.network - first.network) for first, last in pairs]
    training = sum(last.training - first.training for first, last in pairs)
    lessons = statistics.fmean(record["lesson"] is not None for record in records)
    fresh = statistics.fmean(record["fresh"] for record in records)
    assert not waits, f"{waits} steps waited"
    cells = [topology, count, len(graph[0]), f"{statistics.fmean(memory):.0f} (most {max(memory):.0f})"]
    cells += [f"{statistics.fmean(steps) / took:.2f}", f"{lessons:.2f} ({fresh:.2f})", f"{sent / sum(steps):.0f}"]
    cells += [f"{statistics.fmean(network) / took:.1f} (most {max(network) / took:.1f})"]
    cells += [f"{sum(network) / sum(steps):.1f}"]
    cells += [f"{1000 * training / sum(steps):.0f}"]
    return "| " + " | ".join(map(str, cells)) + " |"


def counted(out: Path, id: int, first: int, last: int) -> list[dict[str, Any]]:
    """The records of a peer of the steps after `first` up to `last`."""
    return [record for record in metrics(out, id) if first < record["step"] <= last]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="4,8,16", help="sizes of the groups")
    parser.add_argument("--topology", default="ring", help="ring, or regular:D for D neighbours each")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the stretch that is counted")
    parser.add_argument("--share", type=float, default=0.05, help="cores that each peer has")
    given = parser.parse_args()
    if why := why_no_hosts() or why_no_quota():
        sys.exit(why)
    sizes = [int(size) for size in given.peers.split(",")]
    columns = ["graph", "peers", "neighbours each", "memory, MB", "steps/s", "steps with a lesson (a fresh one)"]
    columns += [
        "bytes sent a step",
        "network, ms CPU per second",
        "network, ms CPU per step",
        "training, ms CPU per step",
    ]
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for size in sizes:
        print(measure(given.topology, size, max(*sizes, 16), given.seconds, given.share), flush=True)


if __name__ == "__main__":
    main()
