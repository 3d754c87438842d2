"""Trains the baselines of a run: each peer alone, and one model on all shards, in parallel processes."""

import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from rich.progress import MofNCompleteColumn, TimeElapsedColumn

from edgekd.cli.bars import LeftColumn, bars, drawn, stderr_console
from edgekd.cli.lines import say
from edgekd.config import Config
from edgekd.files.summary import PeerSummary, Summary
from edgekd.lab.report.gains import ALONE, BALANCED
from edgekd.learning.evaluation import Confusion
from edgekd.protocol.amounts import duration
from edgekd.simulation.box import StepReport
from edgekd.simulation.groups import simulate_lone, simulate_pooled
from edgekd.workers import at_once, count, make_tally, workers

Curve = list[tuple[int, float]]  # (step, accuracy)
LOOK_EVERY = 0.5  # seconds between two updates of the progress
PLAIN_EVERY = 15.0  # seconds between two lines if stderr is no terminal


@dataclass(frozen=True, slots=True)
class Baselines:
    """The results of the baselines. A lone peer is one that trains without neighbours."""

    alone: Summary  # of the lone peers, with class balance off
    balanced: Summary | None  # of the lone peers, with class balance on; None: the run has it off
    pooled: float  # accuracy of one model that was trained on all shards
    curves: dict[str, dict[int, Curve]]  # of the lone peers, by "alone" or "alone, balanced", and by id
    confusions: dict[str, dict[int, Confusion]]  # of their last evaluations, by the same keys


def train_baselines(config: Config, *, quiet: bool) -> Baselines:
    """Train all baselines, as many at the same time as there are cores for their threads.

    Args:
        config: of the run.
        quiet: show no progress.

    Raises:
        ConfigError: the data, the split or the network is not available.
    """
    jobs: dict[Future[Any], tuple[str, int]] = {}
    steps = make_tally()  # counts the steps of peers; a step of the pooled model counts as one of each peer
    kinds = ("off", "on") if config.distill.balance == "on" else ("off",)
    with workers(at_once(config.threads), steps) as pool:
        jobs[pool.submit(_pooled, config)] = ("pooled", 0)  # the longest first
        for balance in kinds:
            for id in range(config.data.clients):
                jobs[pool.submit(_lone, config, id, balance)] = (balance, id)
        done = _collect(jobs, steps, config.steps * config.data.clients * (1 + len(kinds)), quiet)
    summaries = {
        balance: Summary(peers=tuple(done[balance, id][0] for id in range(config.data.clients))) for balance in kinds
    }
    names, ids = {"off": ALONE, "on": BALANCED}, range(config.data.clients)
    return Baselines(
        alone=summaries["off"],
        balanced=summaries.get("on"),
        pooled=done["pooled", 0].accuracy,
        curves={names[balance]: {id: done[balance, id][1] for id in ids} for balance in kinds},
        confusions={names[balance]: {id: done[balance, id][2] for id in ids} for balance in kinds},
    )


def _lone(config: Config, id: int, balance: str) -> tuple[PeerSummary, Curve, Confusion]:
    curve: Curve = []
    confusion: Confusion = ()

    def note(report: StepReport) -> None:
        nonlocal confusion
        count(1)
        if report.accuracy is not None:
            curve.append((report.step, report.accuracy.overall))
            confusion = report.accuracy.confusion

    return simulate_lone(config, id, balance=balance, report=note), curve, confusion


def _pooled(config: Config) -> PeerSummary:
    return simulate_pooled(config, report=lambda report: count(config.data.clients))


def _collect(jobs: dict[Future, tuple[str, int]], steps: Any, total: int, quiet: bool) -> dict:  # type: ignore[type-arg]
    """Wait for the jobs and return their results; meanwhile a bar shows how many of the `total` steps are done."""
    console, done, told = stderr_console(), {}, time.monotonic()

    def left(elapsed: float) -> float | None:
        counted = steps.get_obj().value
        return elapsed * (total - counted) / counted if counted else None

    if not quiet:
        say("baselines: each peer alone, and one model on all data", err=True)
    columns = (MofNCompleteColumn(), "steps", TimeElapsedColumn(), LeftColumn(left))
    with drawn(bars(console, *columns, hidden=quiet)) as progress:
        bar = progress.add_task("baselines", total=total)
        began, under_way = time.monotonic(), set(jobs)
        while under_way:
            ended, under_way = wait(under_way, LOOK_EVERY, FIRST_COMPLETED)
            done.update({jobs[future]: future.result() for future in ended})
            now, counted = time.monotonic(), steps.get_obj().value
            progress.update(bar, completed=counted)
            if progress.disable and not quiet and now - told > PLAIN_EVERY:
                told = now
                say(f"baselines: {counted}/{total} steps, about {duration(left(now - began))} left", err=True)
    return done
