"""Simulations of a group, in lockstep or asynchronously, and its baselines: each peer alone, and all data pooled."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch

from edgekd.config import Config, DistillConfig, ExchangeConfig, ModelConfig, SimulationConfig
from edgekd.data.datasets import PeerData, load_group, load_peer_data, load_pooled_data
from edgekd.data.decoding import IN_PROCESS, Decoding
from edgekd.errors import ConfigError
from edgekd.files.summary import PeerSummary, Summary
from edgekd.simulation.asynchronous import Asynchronous
from edgekd.simulation.box import Report
from edgekd.simulation.lockstep import Lockstep
from edgekd.simulation.stand_in import MODEL

Stop = Callable[[], bool]


def simulate(
    config: Config,
    report: Report | None = None,
    *,
    jobs: int = 1,
    stop: Stop = lambda: False,
    how: Decoding = IN_PROCESS,
) -> Summary:
    """Train ``config.data.clients`` learners side by side in this process.

    Args:
        config: all settings; in lockstep, unless ``config.simulation.asynchronous``.
        report: called after every step of every learner: in lockstep in the order of their ids, else in the order of
            the virtual clock.
        jobs: how many learners compute at once, each with ``config.threads``; it does not change the result.
        stop: becomes true when the simulation is to end early, with what has been reached.
        how: picture files are decoded.

    Raises:
        ConfigError: the data, the split, the topology or the network cannot be had, or the run has no end.
    """
    began = time.monotonic()
    torch.set_num_threads(config.threads)
    group: Mapping[int, PeerData | None] = dict.fromkeys(range(config.data.clients))  # stand-ins see no data
    if config.model.model != MODEL:
        group = dict(enumerate(load_group(config.data, config.data_seed, how)))
    summary = simulate_group(group, config, report, jobs=jobs, stop=stop)
    return dataclasses.replace(summary, seconds=time.monotonic() - began)


def simulate_group(
    group: Mapping[int, PeerData | None],
    config: Config,
    report: Report | None = None,
    *,
    jobs: int = 1,
    stop: Stop = lambda: False,
) -> Summary:
    """`simulate` on data that is loaded already, by the learners' ids; None: a stand-in, which needs none."""
    if config.steps == 0:
        raise ConfigError("steps 0 trains without end, which only `edgekd peer` and `edgekd run` can; choose --steps")
    # A new thread has torch's default number of threads of its own.
    with ThreadPoolExecutor(jobs, initializer=torch.set_num_threads, initargs=(config.threads,)) as pool:
        if config.simulation.asynchronous:
            asynchronous = Asynchronous(group, config, pool.submit, report or (lambda _: None))
            asynchronous.run(stop)
            return asynchronous.summary()
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
    return lockstep.summary()


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
