"""All learners in one process, in lockstep; predictions pass through the same codec as over a network.

A synchronous group of processes ends with the same weights, bit for bit: the network adds nothing and loses nothing.
Some learners may be liars: they learn as all do, but what they send is made up (`edgekd.simulation.lies`).
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from edgekd.config import Config, DistillConfig, ExchangeConfig, ModelConfig
from edgekd.contract import make_contract
from edgekd.data.datasets import PeerData, load_group, load_peer_data, load_pooled_data
from edgekd.errors import ConfigError
from edgekd.files.summary import PeerSummary, Summary
from edgekd.learning.divergence import check_finite
from edgekd.learning.evaluation import Accuracy, is_evaluated
from edgekd.learning.learner import Learner, Losses
from edgekd.protocol.codec import decode, encode
from edgekd.protocol.encodings import Packing
from edgekd.protocol.messages import Lesson
from edgekd.protocol.schedule import is_due, lockstep_round
from edgekd.seeds import derive
from edgekd.simulation.lies import lie
from edgekd.simulation.topology import neighbours


@dataclass(frozen=True, slots=True)
class StepReport:
    """One learner after one step."""

    id: int
    step: int  # steps done, from 1
    losses: Losses
    accuracy: Accuracy | None  # None: not evaluated in this step


Report = Callable[[StepReport], None]
Map = Callable[[Callable[[Learner], Any], Iterable[Learner]], Iterable[Any]]


def simulate(config: Config, report: Report | None = None, *, jobs: int = 1) -> Summary:
    """Train ``config.data.clients`` learners side by side.

    Args:
        config: all settings.
        report: called after every step of every learner, in their order.
        jobs: how many learners compute at once, each with ``config.train.threads``; it does not change the result.

    Raises:
        ConfigError: the data, the split, the topology or the network cannot be had.
    """
    torch.set_num_threads(config.train.threads)
    group = dict(enumerate(load_group(config.data, seed=config.data_seed)))
    return simulate_group(group, config, report, jobs=jobs)


def simulate_group(
    group: dict[int, PeerData], config: Config, report: Report | None = None, *, jobs: int = 1
) -> Summary:
    """`simulate` on data that is loaded already, by the learners' ids."""
    if config.train.steps == 0:
        raise ConfigError("steps 0 trains without end, which only `edgekd peer` and `edgekd run` can; choose --steps")
    lockstep = Lockstep(group, config)
    # A new thread has torch's default number of threads of its own.
    with ThreadPoolExecutor(jobs, initializer=torch.set_num_threads, initargs=(config.train.threads,)) as pool:
        for step in range(config.train.steps):
            for done in lockstep.step(step, pool.map if jobs > 1 else map):
                if report:
                    report(done)
    return lockstep.summary()


class Lockstep:
    """Learners that take each step together; what they say goes through the codec, as over a network.

    `learners` are in the order of their ids; `said` is the newest round's predictions, by who said them.

    Args:
        group: the data, by the learners' ids.
        config: all settings; the same for everybody.

    Raises:
        ConfigError: the topology or the network cannot be had.
    """

    def __init__(self, group: dict[int, PeerData], config: Config) -> None:
        self.config, self._data = config, group
        self.learners = [Learner(data, config, id) for id, data in sorted(group.items())]
        self._packing = Packing.parse(config.exchange.encoding)
        self._contract = make_contract(next(iter(group.values())).public, config)
        # At alpha 1 nobody learns from what others say, so nobody needs to say it.
        self._alone = config.distill.alpha == 1 or len(group) == 1
        self._neighbours = () if self._alone else neighbours(config.exchange.topology, len(group), config.data_seed)
        self._liars = frozenset(sorted(group)[len(group) - (config.exchange.liars or 0) :])
        self.said: dict[int, torch.Tensor] = {}
        self._rounds, self._bytes = 0, 0  # that everybody has taught; of one frame's payload
        self._accuracies: dict[int, Accuracy | None] = dict.fromkeys(group)

    def step(self, step: int, together: Map = map) -> Iterator[StepReport]:
        """One step of every learner; `together` applies a function to each, as `map` does."""
        every, first = self.config.exchange.broadcast_every, self.learners[0].alone_until
        exchanges, round = not self._alone and step >= first, lockstep_round(step, every)
        if exchanges and (is_due(step, every) or step == first):
            frames = together(lambda learner: encode(self._say(learner, round), round, self._packing), self.learners)
            for learner, frame in zip(self.learners, frames, strict=True):
                self.said[learner.id] = decode(frame, self._contract)
                self._bytes = len(frame.payload)
            self._rounds += 1

        def learn(learner: Learner) -> StepReport:
            lesson = Lesson(round, {i: self.said[i] for i in self._neighbours[learner.id]}) if exchanges else None
            learner.study()
            losses, accuracy = learner.learn(lesson), None
            if is_evaluated(learner.step, self.config.train):
                accuracy = learner.evaluate(self._data[learner.id].evaluation)
                self._accuracies[learner.id] = accuracy
            return StepReport(learner.id, learner.step, losses, accuracy)

        yield from together(learn, self.learners)

    def _say(self, learner: Learner, round: int) -> torch.Tensor:
        """What a learner sends about a round: its predictions; a liar's lie."""
        believed, kind = learner.teach(round, keep=True).cpu(), self.config.exchange.lie
        check_finite([believed], learner.id, learner.step)
        if kind is None or learner.id not in self._liars:
            return believed
        return lie(kind, believed, derive(self.config.train.seed, "peer", learner.id, "lie", round))

    def summary(self) -> Summary:
        """What all have reached."""
        return Summary(peers=tuple(map(self._peer, self.learners)))

    def _peer(self, learner: Learner) -> PeerSummary:
        data, accuracy = self._data[learner.id], self._accuracies[learner.id]
        carried = 0 if self._alone else self._rounds * self._bytes * len(self._neighbours[learner.id])
        return PeerSummary(
            id=learner.id,
            accuracy=accuracy.overall if accuracy else None,
            own_accuracy=accuracy.own if accuracy else None,
            head_accuracies=accuracy.heads if accuracy else (),
            steps=learner.step,
            lessons=0 if self._alone else learner.step - learner.alone_until,
            fresh_lessons=self._rounds,
            private_samples=len(data.private.labels),
            evaluation_samples=len(data.evaluation.labels),
            bytes_sent=carried,
            bytes_received=carried,
            weights_sha256=learner.weights_sha256(),
            liar=learner.id in self._liars,
        )


def simulate_pooled(config: Config, report: Report | None = None) -> PeerSummary:
    """One model on all shards together: the same steps, the batch as many times as large, no balance."""
    torch.set_num_threads(config.train.threads)
    data = load_pooled_data(config.data, seed=config.data_seed)
    train = dataclasses.replace(config.train, batch=config.train.batch * config.data.clients)
    alone = dataclasses.replace(lone(config, balance="off"), train=train)
    return simulate_group({0: data}, alone, report).peers[0]


def simulate_lone(config: Config, id: int, *, balance: str, report: Report | None = None) -> PeerSummary:
    """Peer `id` of the group, alone."""
    torch.set_num_threads(config.train.threads)
    data = load_peer_data(config.data, id, seed=config.data_seed)
    return simulate_group({id: data}, lone(config, balance=balance), report).peers[0]


def lone(config: Config, *, balance: str) -> Config:
    """The same peers, each alone: one head, labels only. Settings of distillation have no part in it: the defaults."""
    distill = DistillConfig(alpha=1.0, balance=balance)
    model = dataclasses.replace(config.model, heads=1, head_layers=ModelConfig().head_layers)
    return dataclasses.replace(config, distill=distill, model=model, exchange=ExchangeConfig())
