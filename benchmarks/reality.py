"""Compares the asynchronous simulation with reality: three real peers, and the simulation of the same group.

    python benchmarks/reality.py --data folder:cifar10/train --weights resnet18-tinyimagenet.safetensors --seeds 1,2,3
    python benchmarks/reality.py --digits     # a smoke test: its 40 steps are too few for a verdict

The real peers are processes, each with a share of a core (see throttled.py). The simulation uses the measured step
times of the same run, so that a busy machine does not spoil the comparison. A quantity outside its tolerance is printed
as OUTSIDE; nothing is asserted. The tolerances were fixed before the first run.

Chance plays a part. With 120 steps, the share of fresh lessons of the fastest simulated peer has a standard deviation
of 0.025 over the seeds, so about one run in six is outside without any other cause. The mean over the seeds says more.
"""

import argparse
import dataclasses
import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from throttled import SHARES, Record, Trained, run, three_peers

from edgekd import simulate
from edgekd.config import Config, SimulationConfig
from edgekd.data.datasets import load_peer_data
from edgekd.files.summary import PeerSummary, standard_error
from edgekd.learning.learner import Learner
from edgekd.protocol.messages import Lesson
from edgekd.simulation.station import PICKED, TAUGHT

# The largest differences between a real and a simulated peer that count as agreement:
LESSONS = 0.03  # in the share of steps with a lesson
FRESH = 0.05  # in the share of steps with a fresh lesson
AGE = 1.0  # in the median age of lessons, steps
ACCURACY = 2.0  # in the accuracy, standard errors of the difference

ROUNDING = 1e-9  # as floats, 1 - 0.97 is more than 0.03


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """The quantities of one peer that are compared."""

    lessons: float  # share of steps with a lesson
    fresh: float  # share of steps with a fresh lesson
    age: float  # median age of the lessons, steps; NaN: there was no lesson
    accuracy: float
    samples: int  # images that the accuracy was measured on
    teachers: float  # mean number in a lesson; NaN: there was no lesson. Printed, but not judged


@dataclass(frozen=True, slots=True)
class Verdict:
    """The comparison of one quantity of one peer."""

    peer: int
    quantity: str
    real: float
    simulated: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether both agree within the tolerance; false for NaN, which a peer without lessons has."""
        return abs(self.real - self.simulated) <= self.tolerance + ROUNDING


def compare(real: Sequence[Figures], simulated: Sequence[Figures]) -> list[Verdict]:
    """Compare real and simulated peers: four verdicts for each peer."""
    found = []
    for peer, (r, s) in enumerate(zip(real, simulated, strict=True)):
        errors = standard_error(r.accuracy, r.samples), standard_error(s.accuracy, s.samples)
        found += [
            Verdict(peer, "lessons", r.lessons, s.lessons, LESSONS),
            Verdict(peer, "fresh", r.fresh, s.fresh, FRESH),
            Verdict(peer, "age", r.age, s.age, AGE),
            Verdict(peer, "accuracy", r.accuracy, s.accuracy, ACCURACY * (errors[0] ** 2 + errors[1] ** 2) ** 0.5),
        ]
    return found


# -- the real peers --------------------------------------------------------------------------------------------------


def of_real(peer: Trained) -> Figures:
    """Compute the figures of a real peer from its records."""
    lessons = [step for step in peer.steps if step["lesson"] is not None]
    return Figures(
        lessons=len(lessons) / len(peer.steps),
        fresh=sum(step["fresh"] for step in lessons) / len(peer.steps),
        age=statistics.median(step["age"] for step in lessons) if lessons else math.nan,
        accuracy=peer.summary["accuracy"],
        samples=peer.summary["evaluation_samples"],
        teachers=statistics.fmean(len(step["teachers"]) for step in lessons) if lessons else math.nan,
    )


def step_seconds(progress: Sequence[Record], until: float = math.inf) -> list[float]:
    """The seconds of each step of a peer, from its printed progress; steps between two lines count as equally long.

    Args:
        progress: the printed lines. The ``seconds`` of a line end with the step before it.
        until: seconds of training; later lines are left out.
    """
    marks = [(each["step"], each["seconds"]) for each in progress if each["state"] == "training"]
    found = []
    for (step, began), (next_step, ended) in itertools.pairwise(marks):
        if ended <= until:
            found += [(ended - began) / (next_step - step)] * (next_step - step)
    return found


def together(trained: Sequence[Trained]) -> list[list[float]]:
    """The seconds of each step of each peer, while all peers trained; when some have ended, the others may get faster.

    The simulation uses the means of these, not the medians, so that it does as many steps in the same time. Since peers
    are stopped and continued, and the machine may be busy, a few steps take much longer than the others.
    """
    first = min(peer.progress[-1]["seconds"] for peer in trained)
    return [step_seconds(peer.progress, first) for peer in trained]


# -- the simulated ones ----------------------------------------------------------------------------------------------


def simulated_like(config: Config, seconds: Sequence[float]) -> Config:
    """Make the settings of the simulation of the same group; `seconds` are those of a step of each peer."""
    ratios = ":".join(f"{each / seconds[0]:.4f}" for each in seconds)
    clock = SimulationConfig(asynchronous=True, step_times=ratios, step_seconds=seconds[0])
    exchange = dataclasses.replace(config.exchange, wait_for=None)  # None: for all neighbours
    return dataclasses.replace(config, exchange=exchange, simulation=clock)


def of_simulated(peer: PeerSummary) -> Figures:
    """Compute the figures of a simulated peer."""
    assert peer.accuracy is not None
    assert peer.teachers is not None
    return Figures(
        lessons=peer.lessons / peer.steps,
        fresh=peer.fresh_lessons / peer.steps,
        age=statistics.median(peer.ages) if peer.ages else math.nan,
        accuracy=peer.accuracy,
        samples=peer.evaluation_samples,
        teachers=peer.teachers if peer.ages else math.nan,
    )


def step_shares(config: Config, steps: int = 20) -> tuple[float, float]:
    """When, within a step, the predictions are sent and the lesson is picked, as shares of the step's processor time.

    The lesson is about another round than the broadcast, as in most real steps, so both have their own forward pass.
    """
    torch.set_num_threads(config.threads)
    learner = Learner(load_peer_data(config.data, 0, seed=config.data_seed), config, 0)
    taught, picked = [], []
    for round in range(steps + 3):  # the first steps also allocate
        marks = [time.thread_time()]
        probs = learner.teach(round + 1).exp()
        marks.append(time.thread_time())
        learner.study()
        marks.append(time.thread_time())
        learner.learn(Lesson(round, {1: probs, 2: probs}))
        marks.append(time.thread_time())
        began, published, studied, ended = marks
        if round >= 3:
            taught.append((published - began) / (ended - began))
            picked.append((studied - began) / (ended - began))
    return statistics.median(taught), statistics.median(picked)


# -- both ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pair:
    """The real and the simulated group of one seed."""

    seed: int
    seconds: list[list[float]]  # of each step of each real peer
    real: list[Figures]
    simulated: list[Figures]


def train(config: Config, folder: Path, jobs: int) -> Pair:
    """Train the real peers, with their results in `folder`, then simulate the same group."""
    trained = run(folder, config)
    seconds = together(trained)
    summary = simulate(simulated_like(config, [statistics.fmean(each) for each in seconds]), jobs=jobs)
    return Pair(config.train.seed, seconds, [*map(of_real, trained)], [*map(of_simulated, summary.peers)])


def mean(seeds: Sequence[Sequence[Figures]]) -> list[Figures]:
    """The mean figures of each peer over all seeds. Each seed has its own evaluation set."""
    return [
        Figures(
            lessons=statistics.fmean(each.lessons for each in peer),
            fresh=statistics.fmean(each.fresh for each in peer),
            age=statistics.fmean(each.age for each in peer),
            accuracy=statistics.fmean(each.accuracy for each in peer),
            samples=sum(each.samples for each in peer),
            teachers=statistics.fmean(each.teachers for each in peer),
        )
        for peer in zip(*seeds, strict=True)
    ]


def show_steps(pair: Pair) -> None:
    """Print how long a step of each real peer took."""
    print(f"\nseed {pair.seed}: the real peers\npeer  core  seconds a step: mean  median (middle half)")
    for id, each in enumerate(pair.seconds):
        low, median, high = statistics.quantiles(each, n=4)
        print(f"{id:4}  {SHARES[id]:.2f}  {statistics.fmean(each):20.3f}  {median:6.3f} ({low:.3f} to {high:.3f})")


def show(name: str, real: Sequence[Figures], simulated: Sequence[Figures]) -> None:
    """Print the figures of both groups, and a verdict for each quantity of each peer."""
    print(f"\n{name}\npeer  quantity   real  simulated  difference  tolerance")
    for verdict in compare(real, simulated):
        numbers = f"{verdict.real:5.3f}  {verdict.simulated:9.3f}  {verdict.simulated - verdict.real:+10.3f}"
        says = "holds" if verdict.holds else "OUTSIDE"
        print(f"{verdict.peer:4}  {verdict.quantity:8}  {numbers}  {verdict.tolerance:9.3f}  {says}")
    for id, (r, s) in enumerate(zip(real, simulated, strict=True)):
        print(f"{id:4}  teachers  {r.teachers:5.3f}  {s.teachers:9.3f}  {s.teachers - r.teachers:+10.3f}", flush=True)


def show_verdicts(pairs: Sequence[Pair]) -> None:
    """Print for each quantity whether it agrees for every peer and seed."""
    print()
    for quantity in ("lessons", "fresh", "age", "accuracy"):
        found = [(p.seed, v) for p in pairs for v in compare(p.real, p.simulated) if v.quantity == quantity]
        outside = [f"seed {seed} peer {v.peer} by {abs(v.simulated - v.real):.3f}" for seed, v in found if not v.holds]
        says = f"OUTSIDE for {len(outside)} of {len(found)}: {', '.join(outside)}" if outside else "holds for all"
        print(f"{quantity}: {says}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", action="store_true", help="small images and a small network: a smoke test")
    parser.add_argument("--data")
    parser.add_argument("--weights")
    parser.add_argument("--limit", type=int, help="images in all [default: 40000, of digits 900]")
    parser.add_argument("--public-fraction", type=float, default=0.2)
    parser.add_argument("--steps", type=int, help="of each peer [default: 120, of digits 40]")
    parser.add_argument("--seeds", help="I,J,... [default: 1,2,3, of digits 1]")
    parser.add_argument("--jobs", type=int, default=2, help="simulated learners that compute at once")
    parser.add_argument("--out", type=Path, help="keep the real peers' folders here")
    given = parser.parse_args()
    if not given.digits and not (given.data and given.weights):
        parser.error("give --data and --weights, or --digits")
    name, limit, steps, seeds = ("digits", 900, 40, "1") if given.digits else (given.data, 40_000, 120, "1,2,3")
    data = {"data": name, "limit": given.limit or limit, "public_fraction": given.public_fraction}
    model = {"model": "mobilenet_v3_small"} if given.digits else {"weights": given.weights}
    train_settings = {"steps": given.steps or steps, **({"batch": 16, "public_batch": 16} if given.digits else {})}
    configs = [
        three_peers(data, model, {**train_settings, "seed": int(seed)}) for seed in (given.seeds or seeds).split(",")
    ]
    taught, picked = step_shares(configs[0])
    print(f"shares of a real step: taught {taught:.3f}, picked {picked:.3f}; simulated: {TAUGHT:.3f}, {PICKED:.3f}")
    pairs: list[Pair] = []
    for config in configs:
        with tempfile.TemporaryDirectory() as temporary:
            folder = (given.out or Path(temporary)) / f"seed-{config.train.seed}"
            folder.mkdir(parents=True)
            pair = train(config, folder, given.jobs)
        pairs.append(pair)
        show_steps(pair)
        show(f"seed {pair.seed}: real and simulated", pair.real, pair.simulated)
    if len(pairs) > 1:
        show(
            "mean over the seeds: real and simulated",
            mean([pair.real for pair in pairs]),
            mean([pair.simulated for pair in pairs]),
        )
    show_verdicts(pairs)


if __name__ == "__main__":
    main()
