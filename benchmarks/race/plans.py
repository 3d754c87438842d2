"""Which runs each part of the race has."""

import dataclasses
import statistics
from collections.abc import Iterable, Iterator, Sequence

from race.rows import Row
from race.runs import Fault, Lab, Run
from race.settings import SMALL, Setting
from race.systems import SYSTEMS

SEEDS = (101, 102, 103)  # those that are reported
TUNING_SEEDS = (11, 12)  # those that are not
FAULTY = ("edgekd", "edgekd-lockstep", "flower-fedavg", "p2pfl", "quinkgl")
GROWING = ("edgekd", "flower-fedavg", "p2pfl", "quinkgl")
NODES = (3, 6, 12)
WORTH = 1.05  # with less than this share of additional steps the same time is the same steps


def tuning(who: str, setting: Setting) -> list[Run]:
    """The six runs that a system may be tuned with: rates and local epochs, or rates and two seeds."""
    averages = SYSTEMS[who].averages
    return [
        Run(
            who=who,
            setting=setting,
            seed=TUNING_SEEDS[0] if averages else seed,
            rate=rate,
            local_epochs=epochs if averages else 1,
            label=f"tuning rate {rate:g}" + (f" epochs {epochs}" if averages else ""),
        )
        for rate in setting.rates
        for epochs, seed in zip((1, 2), TUNING_SEEDS, strict=True)
    ]


def tuned(lab: Lab, who: str, setting: Setting) -> tuple[float | None, int]:
    """The best rate and number of local epochs in the tuning runs that were made; edgekd's defaults if none was."""
    found: dict[tuple[float | None, int], list[float]] = {}
    for run in tuning(who, setting):
        if lab.has(run):
            accuracy = mean_accuracy(lab.result(run)["rows"])
            found.setdefault((run.rate, run.local_epochs), []).append(accuracy)
    if not found:
        return None, 1
    return max(found, key=lambda choice: statistics.fmean(found[choice]))


def mean_accuracy(rows: Iterable[dict[str, object]]) -> float:
    """The mean of the nodes' last accuracies; 0 if there is none."""
    known = [float(str(row["accuracy"])) for row in rows if row["accuracy"] is not None]
    return statistics.fmean(known) if known else 0.0


def core(lab: Lab, whos: Sequence[str], settings: Sequence[Setting], seeds: Sequence[int]) -> Iterator[Run]:
    """The same steps for all, seed by seed; then the same time for those that were faster than edgekd."""
    for setting in settings:
        for seed in seeds:
            for who in whos:
                rate, epochs = tuned(lab, who, setting)
                run = Run(who=who, setting=setting, seed=seed, rate=rate, local_epochs=epochs)
                yield run
                if who != "edgekd" and "edgekd" in whos and (longer := _same_time(lab, run)):
                    yield longer


def _same_time(lab: Lab, run: Run) -> Run | None:
    """The run with as many steps as fit into edgekd's time; None: it is edgekd, or those are no more steps."""
    edgekd = dataclasses.replace(run, who="edgekd", rate=tuned(lab, "edgekd", run.setting)[0], local_epochs=1)
    if run.who.startswith("edgekd") or not lab.has(edgekd):
        return None
    own, its = (_times(lab, each) for each in (run, edgekd))
    if own is None or its is None:
        return None
    (begun, ended), (_, limit) = own, its
    steps = round(run.setting.steps * (limit - begun) / (ended - begun))
    if steps < WORTH * run.setting.steps:
        return None
    return dataclasses.replace(run, setting=run.setting.with_steps(steps), label="same time")


def _times(lab: Lab, run: Run) -> tuple[float, float] | None:
    """The seconds until the last node's first step, and until its last accuracy; None: a node had none."""
    nodes = [row for row in lab.result(run)["rows"] if row["node"] != "server"]
    if not nodes or any(row["accuracy"] is None for row in nodes):
        return None
    begun = max(Row(**row).notes["first_step"] for row in nodes)
    return begun, max(float(row["seconds"]) for row in nodes)


def faults(lab: Lab, whos: Sequence[str], setting: Setting, seeds: Sequence[int]) -> Iterator[Run]:
    for seed in seeds:
        for who in FAULTY:
            if who in whos:
                rate, epochs = tuned(lab, who, setting)
                for fault in (Fault.KILL, Fault.RESTART, Fault.SLOW, Fault.LINKS):
                    yield Run(who=who, setting=setting, seed=seed, rate=rate, local_epochs=epochs, fault=fault)


def growing(whos: Sequence[str], seeds: Sequence[int], steps: int | None) -> Iterator[Run]:
    """More and more nodes, with a small network and the same number of steps a node."""
    setting = SMALL.with_steps(steps or SMALL.steps)
    for seed in seeds:
        for who in GROWING:
            for nodes in NODES if who in whos else ():
                yield Run(who=who, setting=setting, seed=seed, nodes=nodes, label=f"{nodes} nodes")
