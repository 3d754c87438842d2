"""All learners in one process, in lockstep; predictions pass through the same codec as over a network.

A synchronous group of processes ends with the same weights, bit for bit: the network adds nothing and loses nothing.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch

from edgekd.codec import decode, encode
from edgekd.config import Config
from edgekd.datasets import PeerData, load_group, load_peer_data, load_pooled_data
from edgekd.errors import ConfigError
from edgekd.evaluation import Accuracy
from edgekd.learner import Learner, Losses
from edgekd.messages import Contract, Encoding, Lesson
from edgekd.schedule import is_due, is_evaluated, lockstep_round
from edgekd.summary import PeerSummary, Summary


@dataclass(frozen=True, slots=True)
class StepReport:
    """One learner after one step."""

    id: int
    step: int  # steps done, from 1
    losses: Losses
    accuracy: Accuracy | None  # None: not evaluated in this step


Report = Callable[[StepReport], None]


def make_contract(data: PeerData, config: Config) -> Contract:
    """What a peer with this data and configuration must agree on with others."""
    exchange = config.exchange
    return Contract(
        public_sha256=data.public.sha256,
        public_batch=config.train.public_batch,
        classes=len(data.classes),
        heads=1,
        temperature=config.distill.temperature,
        augment=data.public.augment,
        mode="async" if exchange.sync is None else f"sync/{exchange.broadcast_every}",
    )


def simulate(config: Config, report: Report | None = None) -> Summary:
    """Train ``config.data.clients`` learners side by side.

    Args:
        config: all settings.
        report: called after every step of every learner.

    Raises:
        ConfigError: the data, the split or the network cannot be had.
    """
    torch.set_num_threads(config.train.threads)
    group = dict(enumerate(load_group(config.data, seed=config.data_seed)))
    return simulate_group(group, config, report)


def simulate_group(group: dict[int, PeerData], config: Config, report: Report | None = None) -> Summary:
    """`simulate` on data that is loaded already, by the learners' ids."""
    if config.train.steps == 0:
        raise ConfigError("steps 0 trains without end, which only `edgekd peer` and `edgekd run` can; choose --steps")
    learners = [Learner(data, config, id) for id, data in sorted(group.items())]
    encoding, contract = Encoding(config.exchange.encoding), make_contract(next(iter(group.values())), config)
    # At alpha 1 nobody learns from what others say, so nobody needs to say it.
    alone = config.distill.alpha == 1 or len(learners) == 1
    every = config.exchange.broadcast_every
    sent = 0
    said: dict[int, torch.Tensor] = {}
    accuracies: dict[int, Accuracy | None] = dict.fromkeys(group)
    for step in range(config.train.steps):
        round = lockstep_round(step, every)
        if not alone and is_due(step, every):
            frames = [encode(learner.teach(round, keep=True), round, encoding) for learner in learners]
            said = {learner.id: decode(frame, contract) for learner, frame in zip(learners, frames, strict=True)}
            sent += (len(learners) - 1) * len(frames[0].payload)
        for learner in learners:
            learner.study()
            teachers = {id: probs for id, probs in said.items() if id != learner.id}
            losses = learner.learn(None if alone else Lesson(round, teachers))
            due = is_evaluated(learner.step, config.train)
            if due:
                accuracies[learner.id] = learner.evaluate(group[learner.id].evaluation)
            if report:
                report(StepReport(learner.id, learner.step, losses, accuracies[learner.id] if due else None))
    rows = ((learner, group[learner.id], accuracies[learner.id]) for learner in learners)
    return Summary(peers=tuple(_summary(*row, alone, sent, every) for row in rows))


def simulate_pooled(config: Config, report: Report | None = None) -> float:
    """Accuracy of one model on all shards together: the same steps, the batch as many times as large, no balance."""
    torch.set_num_threads(config.train.threads)
    data = load_pooled_data(config.data, seed=config.data_seed)
    train = dataclasses.replace(config.train, batch=config.train.batch * config.data.clients)
    distill = dataclasses.replace(config.distill, alpha=1.0, balance="off")
    summary = simulate_group({0: data}, dataclasses.replace(config, train=train, distill=distill), report)
    return summary.peers[0].accuracy or 0.0


def simulate_lone(config: Config, id: int, *, balance: str, report: Report | None = None) -> PeerSummary:
    """Peer `id` of the group, alone."""
    torch.set_num_threads(config.train.threads)
    data = load_peer_data(config.data, id, seed=config.data_seed)
    return simulate_group({id: data}, lone(config, balance=balance), report).peers[0]


def lone(config: Config, *, balance: str) -> Config:
    """The same peers, each alone."""
    return dataclasses.replace(config, distill=dataclasses.replace(config.distill, alpha=1.0, balance=balance))


def _summary(
    learner: Learner, data: PeerData, accuracy: Accuracy | None, alone: bool, sent: int, every: int
) -> PeerSummary:
    steps = learner.step
    return PeerSummary(
        id=learner.id,
        accuracy=accuracy.overall if accuracy else None,
        own_accuracy=accuracy.own if accuracy else None,
        steps=steps,
        lessons=0 if alone else steps,
        fresh_lessons=0 if alone else -(-steps // every),
        private_samples=len(data.private.labels),
        evaluation_samples=len(data.evaluation.labels),
        bytes_sent=sent,
        bytes_received=sent,
        weights_sha256=learner.weights_sha256(),
    )
