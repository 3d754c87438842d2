"""The lockstep simulation: all learners in one process, with the same codec as over a network.

A synchronous group of real processes ends with the same weights, bit for bit, because the network changes nothing. Some
learners may be liars: they learn like the others, but send false predictions (`edgekd.simulation.lies`).
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from edgekd.config import Config
from edgekd.contract import make_contract
from edgekd.data.datasets import PeerData
from edgekd.errors import LocalProtocolError
from edgekd.files.summary import Summary
from edgekd.learning.learner import Learner
from edgekd.protocol.codec import decode
from edgekd.protocol.exchange import Exchange, Teach
from edgekd.protocol.members import Member
from edgekd.protocol.messages import Lesson, SoftPredictions
from edgekd.simulation.box import Box, StepReport, hearing, liars

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
_INSTANCE = 1  # of every learner: in lockstep none is restarted


class Lockstep:
    """Learners that take each step together; their predictions pass through the codec, as over a network.

    `learners` is ordered by id. `probs` maps each sender's id to its newest predictions, as the others received them.

    Args:
        group: peer id -> its data.
        config: all settings; they are the same for all peers.

    Raises:
        ConfigError: the topology or the network is not available.
    """

    def __init__(self, group: dict[int, PeerData], config: Config) -> None:
        ids = sorted(group)
        self._contract = make_contract(next(iter(group.values())).public, config)
        self._neighbours, lying = hearing(config, ids), liars(config, ids)
        self.learners = [Learner(group[id], config, id) for id in ids]
        self._boxes = [
            Box(learner.id, learner, _exchange(learner, len(ids)), group[learner.id], config, liar=learner.id in lying)
            for learner in self.learners
        ]
        self._by_id = {box.id: box for box in self._boxes}
        self._members = {id: tuple(map(_member, neighbours)) for id, neighbours in self._neighbours.items()}
        self._on_private = bool(config.simulation.on_private)
        self.probs: dict[int, torch.Tensor] = {}

    def step(self, step: int, together: Map = map) -> Iterator[StepReport]:
        """Do one step of every learner; yields the reports in the order of their ids.

        Args:
            step: the step.
            together: applies a function to each item, as `map` does, perhaps in parallel.
        """
        if self._on_private:
            yield from self._step_on_private(step, together)
            return
        teaching: list[tuple[Box, Teach]] = []
        for box in self._boxes:
            teach = box.exchange.teach(step, self._members[box.id])
            if teach is not None and self._neighbours[box.id]:
                teaching.append((box, teach))
        frames = together(lambda each: each[0].broadcast(each[1]), teaching)
        for (box, _), frame in zip(teaching, frames, strict=True):
            self._deliver(box, frame, step)

        def learn(box: Box) -> StepReport:
            if missing := box.exchange.awaits(step, self._members[box.id]):
                raise LocalProtocolError(f"learner {box.id} lacks predictions of {sorted(missing)} in step {step}")
            return box.step(box.exchange.lesson(step, self._members[box.id]))

        yield from together(learn, self._boxes)

    def _step_on_private(self, step: int, together: Map) -> Iterator[StepReport]:
        """Do one step in which the neighbours' networks teach each learner about its own private batch."""

        list(together(Learner.study, self.learners))

        def answers(teacher: Learner) -> dict[int, torch.Tensor]:
            students = [each for each in self.learners if teacher.id in self._neighbours[each.id] and not each.is_alone]
            return {each.id: teacher.answer(each.studied_images) for each in students}

        # All answers must exist before the first network changes.
        said = dict(zip(self._by_id, together(answers, self.learners), strict=True))

        def learn(box: Box) -> StepReport:
            teachers = {id: said[id][box.id] for id in self._neighbours[box.id] if box.id in said[id]}
            return box.finish(Lesson(step, teachers) if teachers else None)

        yield from together(learn, self._boxes)

    def _deliver(self, box: Box, frame: SoftPredictions, step: int) -> None:
        probs = self.probs[box.id] = decode(frame, self._contract)
        for neighbour in (self._by_id[id] for id in self._neighbours[box.id]):
            neighbour.exchange.post(box.id, _INSTANCE, frame.round, probs, step)
            box.bytes_sent += len(frame.payload)
            neighbour.bytes_received += len(frame.payload)

    def summary(self) -> Summary:
        """The results of all learners."""
        return Summary(peers=tuple(box.summary() for box in self._boxes))


def _exchange(learner: Learner, clients: int) -> Exchange:
    config = learner.config
    in_lockstep = dataclasses.replace(config, exchange=dataclasses.replace(config.exchange, sync=math.inf))
    return Exchange(in_lockstep, alone_until=learner.alone_until, neighbours=clients)


def _member(id: int) -> Member:
    """The record of a neighbour in lockstep, which is always up."""
    return Member(id=id, instance=_INSTANCE, address="", up=True, last_heard=0.0)
