"""What the peers reach without one another: each alone, and one model on all shards; side by side on the cores."""

from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from edgekd.config import Config
from edgekd.files.summary import PeerSummary, Summary
from edgekd.simulation.box import StepReport
from edgekd.simulation.groups import simulate_lone, simulate_pooled
from edgekd.workers import at_once, workers

Curve = list[tuple[int, float]]  # (step, accuracy)


@dataclass(frozen=True, slots=True)
class Baselines:
    """The lone peers without balance and, where balance is on, with it; and pooled."""

    alone: Summary
    balanced: Summary | None
    pooled: float
    curves: dict[int, Curve]  # of the lone peers without balance


def train_baselines(config: Config, *, quiet: bool) -> Baselines:
    """Train them all, as many at once as there are cores for their threads.

    Raises:
        ConfigError: the data, the split or the network cannot be had.
    """
    jobs: dict[Future[Any], tuple[str, int]] = {}
    count = at_once(config.train.threads)
    kinds = ("off", "on") if config.distill.balance == "on" else ("off",)
    with workers(count) as pool:
        jobs[pool.submit(simulate_pooled, config)] = ("pooled", 0)  # the longest first
        for balance in kinds:
            for id in range(config.data.clients):
                jobs[pool.submit(_lone, config, id, balance)] = (balance, id)
        done = _collect(jobs, quiet)
    summaries = {
        balance: Summary(peers=tuple(done[balance, id][0] for id in range(config.data.clients))) for balance in kinds
    }
    return Baselines(
        alone=summaries["off"],
        balanced=summaries.get("on"),
        pooled=done["pooled", 0].accuracy,
        curves={id: done["off", id][1] for id in range(config.data.clients)},
    )


def _lone(config: Config, id: int, balance: str) -> tuple[PeerSummary, Curve]:
    curve: Curve = []

    def note(report: StepReport) -> None:
        if report.accuracy is not None:
            curve.append((report.step, report.accuracy.overall))

    return simulate_lone(config, id, balance=balance, report=note), curve


def _collect(jobs: dict[Future, tuple[str, int]], quiet: bool) -> dict:  # type: ignore[type-arg]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    done = {}
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        bar = progress.add_task("baselines: each peer alone, and all data pooled", total=len(jobs))
        for future in as_completed(jobs):
            done[jobs[future]] = future.result()
            progress.advance(bar)
    return done
