"""Simulations of a group, in lockstep or asynchronously, and its baselines: each peer alone, and all data pooled."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import nn

from edgekd.config import Config, DistillConfig, ExchangeConfig, ModelConfig, SimulationConfig
from edgekd.data.datasets import PeerData, load_group, load_peer_data, load_pooled_data
from edgekd.data.decoding import IN_PROCESS, Decoding
from edgekd.errors import ConfigError
from edgekd.files.summary import PeerSummary, Summary
from edgekd.learning.evaluation import Accuracy
from edgekd.learning.learner import Learner
from edgekd.simulation.asynchronous import Asynchronous
from edgekd.simulation.box import Report, StepReport
from edgekd.simulation.lockstep import Lockstep
from edgekd.simulation.stand_in import MODEL

Stop = Callable[[], bool]
Learned = Mapping[int, object]  # by id, a learner or the stand-in for one


@dataclass(frozen=True, kw_only=True, slots=True)
class Simulated(Summary):
    """The result of a simulation: a summary with `peers` and `mean_accuracy`, the curves, and the trained networks.

    >>> result = simulate(Config.of(limit=100, clients=2, steps=2, batch=8, public_batch=8))
    >>> result.mean_accuracy == (result.peers[0].accuracy + result.peers[1].accuracy) / 2
    True
    >>> result.models[1](torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])

    Attributes:
        curves: by learner id, all evaluations of the learner, oldest first. Each has its `step` and an `overall`
            accuracy.
        models: by learner id, the network of the learner, on the CPU, in evaluation mode. It maps normalised images,
            float ``[N, 3, S, S]``, to logits ``[N, classes]``. Empty if stand-ins took the place of the learners.
    """

    curves: Mapping[int, tuple[Accuracy, ...]] = field(compare=False)
    models: Mapping[int, nn.Module] = field(compare=False)


def simulate(
    config: Config,
    report: Report | None = None,
    *,
    jobs: int = 1,
    stop: Stop = lambda: False,
    how: Decoding = IN_PROCESS,
) -> Simulated:
    """Train ``config.data.clients`` learners side by side in this process; nothing is written.

    >>> result = simulate(Config.of(limit=100, clients=2, steps=2, batch=8, public_batch=8, eval_every=1))
    >>> [point.step for point in result.curves[0]], sorted(result.models)
    ([1, 2], [0, 1])

    Args:
        config: all settings; in lockstep, unless ``config.simulation.asynchronous``.
        report: called after every step of every learner: in lockstep in the order of their ids, otherwise in the order
            of the virtual clock.
        jobs: the number of learners that compute at the same time, each with ``config.threads``; it does not change the
            result.
        stop: becomes true when the simulation should end early, with the results so far.
        how: the way to decode picture files.

    Raises:
        ConfigError: the data, the split, the topology or the network cannot be used, or the run has no end.
    """
    began = time.monotonic()
    torch.set_num_threads(config.threads)
    curves: dict[int, list[Accuracy]] = {id: [] for id in range(config.data.clients)}

    def note(done: StepReport) -> None:
        if done.accuracy is not None:
            curves[done.id].append(done.accuracy)
        if report:
            report(done)

    group: Mapping[int, PeerData | None] = dict.fromkeys(range(config.data.clients))  # stand-ins see no data
    if config.model.model != MODEL:
        group = dict(enumerate(load_group(config.data, config.data_seed, how)))
    summary, learned = _trained(group, config, note, jobs=jobs, stop=stop)
    return Simulated(
        peers=summary.peers,
        seconds=time.monotonic() - began,
        curves={id: tuple(curve) for id, curve in curves.items()},
        models={id: learner.network() for id, learner in learned.items() if isinstance(learner, Learner)},
    )


def simulate_group(
    group: Mapping[int, PeerData | None],
    config: Config,
    report: Report | None = None,
    *,
    jobs: int = 1,
    stop: Stop = lambda: False,
) -> Summary:
    """Simulate as `simulate` does, with data that is loaded already, by learner id; None: a stand-in, without data."""
    return _trained(group, config, report, jobs=jobs, stop=stop)[0]


def _trained(
    group: Mapping[int, PeerData | None], config: Config, report: Report | None, *, jobs: int, stop: Stop
) -> tuple[Summary, Learned]:
    """Train the group; return the summary, and the learners or stand-ins by id."""
    if config.steps == 0:
        raise ConfigError("steps 0 trains without end, which only `edgekd peer` and `edgekd run` can; choose --steps")
    # A new thread has torch's default number of threads of its own.
    with ThreadPoolExecutor(jobs, initializer=torch.set_num_threads, initargs=(config.threads,)) as pool:
        if config.simulation.asynchronous:
            asynchronous = Asynchronous(group, config, pool.submit, report or (lambda _: None))
            asynchronous.run(stop)
            return asynchronous.summary(), asynchronous.learners()
        data = {id: each for id, each in group.items() if each is not None}
        if len(data) < len(group):
            raise ConfigError(f"model {MODEL} stands in for learners of an asynchronous simulation: add --async")
        lockstep = Lockstep(data, config)
        for step in range(config.steps):
            if stop():  # between steps, so that all learners have done as many
                break
            for done in lockstep.step(step, pool.map if jobs > 1 else map):
                if report:
                    report(done)
    return lockstep.summary(), {learner.id: learner for learner in lockstep.learners}


def simulate_pooled(config: Config, report: Report | None = None) -> PeerSummary:
    """Train one model on the shards of all K clients together: the same steps, a batch K times as large, no balance."""
    torch.set_num_threads(config.threads)
    data = load_pooled_data(config.data, seed=config.data_seed)
    train = dataclasses.replace(config.train, batch=config.batch * config.data.clients)
    alone = dataclasses.replace(lone(config, balance="off"), train=train)
    return simulate_group({0: data}, alone, report).peers[0]


def simulate_lone(config: Config, id: int, *, balance: str, report: Report | None = None) -> PeerSummary:
    """Train peer `id` of the group without neighbours; `balance` is "on" or "off"."""
    torch.set_num_threads(config.threads)
    data = load_peer_data(config.data, id, seed=config.data_seed)
    return simulate_group({id: data}, lone(config, balance=balance), report).peers[0]


# Settings that have no effect on learning alone. They are fixed here because the names of stored cells depend on them.
_ALONE = DistillConfig(alpha=1.0, measure="kl", combine="geometric", temperature=2.0, kd_weight=2.0, kd_warmup=0)


def lone(config: Config, *, balance: str) -> Config:
    """The settings of the same peers, each without neighbours: one head, labels only; `balance` is "on" or "off"."""
    distill = dataclasses.replace(_ALONE, balance=balance)
    model = dataclasses.replace(config.model, heads=1, head_layers=ModelConfig().head_layers)
    return dataclasses.replace(
        config, distill=distill, model=model, exchange=ExchangeConfig(), simulation=SimulationConfig()
    )
