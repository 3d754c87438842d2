"""Measures what faults of one peer cost the others: a table for kill, return, straggler, partition and packet loss.

    python benchmarks/faults.py [--seconds 30] [--share 0.3]

Needs Linux and root. Each of three peers has its own host (a network namespace) and its own CPU quota, so that the
share of a peer that is gone stays unused. Each fault lies between two calm stretches of the same length (the kill and
the return between the same two). The ratio is steps/s under the fault to the mean of both stretches. Targets: the
others keep >= 0.95 of their speed; no step waits; every step has a lesson; a peer is seen down, and exchanges again,
within 5 s.
"""

import argparse
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

SETTINGS = [*SMALL, "--steps", 0, "--checkpoint-every", 100, "--wait-for", 3]
Steps = tuple[int, int]  # the first and the last of a stretch


@dataclass
class Stretch:
    """The results of some time without a change."""

    rates: dict[int, float]  # steps/s, by peer
    steps: dict[int, Steps]  # by peer


class Bench:
    def __init__(self, stack: ExitStack, seconds: float, share: float) -> None:
        self.seconds, self.share = seconds, share
        self.out = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        self.net = stack.enter_context(Hosts(3, slow_wires=True))
        self.quotas = [Quota(2.0) for _ in range(3)]
        for quota in self.quotas:
            stack.callback(quota.close)
        self.where = [self.net.address(id) for id in range(3)]
        self.peers = [self.start(id) for id in range(3)]
        stack.callback(self.close)

    def close(self) -> None:
        for process in self.peers:
            process.close()

    def start(self, id: int) -> Process:
        arguments = ["peer", "--id", id, "--listen", self.where[id], "--peers", ",".join(self.where), "--resume"]
        arguments += ["--insecure"]  # its own hosts can be trusted
        arguments += ["--out", self.out / f"peer-{id}", "--json", *SETTINGS]
        return start(arguments, self.out, inside=[*self.quotas[id].inside, *self.net.inside(id)])

    def stretch(self, *ids: int) -> Stretch:
        """Wait `seconds`, and return the rates and steps of these peers in that time."""
        began = time.monotonic()
        time.sleep(self.seconds)
        rates, steps = {}, {}
        for id in ids:
            events = [e for e in self.peers[id].events if e["at"] >= began and e.get("state") == "training"]
            first, last = events[0], events[-1]
            rates[id] = (last["step"] - first["step"]) / (last["at"] - first["at"])
            steps[id] = (first["step"], last["step"])
        return Stretch(rates, steps)

    def records(self, id: int, stretch: Stretch) -> list[dict[str, Any]]:
        first, last = stretch.steps[id]
        return [record for record in metrics(self.out, id) if first < record["step"] <= last]


@contextmanager
def bench(seconds: float, share: float) -> Iterator[Bench]:
    with ExitStack() as stack:
        made = Bench(stack, seconds, share)
        for process in made.peers:
            process.until_exchanging(up=2)
        for quota in made.quotas:
            quota.limit(share)
        yield made


def ratio(before: Stretch, under: Stretch, after: Stretch, *ids: int) -> float:
    """The mean, over these peers, of the ratio of their speed under the fault to that before and after it."""
    return statistics.fmean(under.rates[id] / ((before.rates[id] + after.rates[id]) / 2) for id in ids)


def until_up(process: Process, count: int) -> None:
    process.until(lambda p: p.last["up"] == count)


def measure(run: Bench) -> list[tuple[str, str, float, list[tuple[int, Stretch]], str]]:
    """Cause all faults, one after the other; return a row for each.

    A row has the fault's name, the peers that are measured, their ratio, the peers and stretches whose lessons count,
    and a text with further results.
    """
    rows = []
    everybody = (0, 1, 2)
    time.sleep(2.0)
    calm = run.stretch(*everybody)

    killed_at = run.peers[2].kill9()
    down = [run.peers[id].until_says("peer 2 is down", after=killed_at) - killed_at for id in (0, 1)]
    killed = run.stretch(0, 1)
    run.peers[2] = run.start(2)
    returning = run.stretch(0, 1)
    hello = run.peers[2].until_says(" is up at ")
    exchanging = run.peers[2].until_exchanging(up=2) - hello
    rejoined = run.stretch(*everybody)
    run.quotas[2].limit(run.share / 5)
    slow = run.stretch(*everybody)
    run.quotas[2].limit(run.share)
    again = run.stretch(*everybody)
    rows.append(
        (
            "kill -9 of one",
            "the other two",
            ratio(calm, killed, rejoined, 0, 1),
            [(0, killed), (1, killed)],
            f"down after {max(down):.2f} s",
        )
    )
    rows.append(
        (
            "it comes back",
            "the other two",
            ratio(calm, returning, rejoined, 0, 1),
            [(0, returning), (1, returning), *((id, rejoined) for id in everybody)],
            f"exchanging {exchanging:.2f} s after its first Hello",
        )
    )
    rows.append(
        (
            "straggler: a fifth",
            "the other two",
            ratio(rejoined, slow, again, 0, 1),
            [(id, slow) for id in everybody],
            f"its speed {slow.rates[2] / again.rates[2]:.2f}; it teaches in {{late}}",
        )
    )

    run.net.drop(0, 2)
    run.net.drop(1, 2)
    for id in everybody:
        until_up(run.peers[id], 0 if id == 2 else 1)
    apart = run.stretch(*everybody)
    run.net.heal()
    healed = time.monotonic()
    back = [run.peers[id].until_exchanging(up=2, after=healed) - healed for id in everybody]
    together = run.stretch(*everybody)
    rows.append(
        (
            "partition 2 + 1",
            "all",
            ratio(again, apart, together, *everybody),
            [(0, apart), (1, apart)],
            f"exchanging {max(back):.2f} s after the healing",
        )
    )

    for id in everybody:
        run.net.slow(id, delay=0.15, loss=0.05, rate=1e6, seed=id)
    time.sleep(3.0)
    memory = [run.peers[id].memory() for id in everybody]
    lossy = run.stretch(*everybody)
    grown = [run.peers[id].memory() - memory[id] for id in everybody]
    for id in everybody:
        run.net.slow(id)
    time.sleep(3.0)
    last = run.stretch(*everybody)
    rows.append(
        (
            "5 % loss, 1 Mbit/s, 300 ms",
            "all",
            ratio(together, lossy, last, *everybody),
            [(id, lossy) for id in everybody],
            f"{{behind}}; memory {max(grown) / 1e6:+.1f} MB",
        )
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each stretch")
    parser.add_argument("--share", type=float, default=0.3, help="cores that each peer has")
    given = parser.parse_args()
    if why := why_no_hosts() or why_no_quota():
        sys.exit(why)
    with bench(given.seconds, given.share) as run:
        rows = measure(run)
        for process in run.peers:
            process.terminate()
        print("| fault | steps/s to before and after | steps with a lesson | what else |\n| --- | --- | --- | --- |")
        for name, whose, speed, stretches, what in rows:
            records = [(id, record) for id, stretch in stretches for record in run.records(id, stretch)]
            lessons = statistics.fmean(record["lesson"] is not None for _, record in records)
            fresh = [(id, record) for id, record in records if record["fresh"]]
            late = statistics.fmean(2 in record["teachers"] for id, record in fresh if id != 2) if fresh else 0.0
            behind = sorted(record["round"] - record["lesson"] for _, record in fresh) or [0]
            steps = f"fresh predictions are {statistics.median(behind):.0f} rounds behind, at most {behind[-1]}"
            said = what.format(late=f"{late:.2f} of the others' fresh lessons", behind=steps)
            print(f"| {name} | {whose}: {speed:.2f} | {lessons:.2f} | {said} |")
        waits = [summary(run.out, id)["waits"] for id in range(3)]
        print(f"steps that waited: {waits}; each peer had {given.share:g} of a core, each stretch {given.seconds:g} s")


if __name__ == "__main__":
    main()
