"""The asynchronous simulation: peers in one process under a virtual clock, to try a fleet before it is bought.

The peers are real learners with the real exchange, board, outbox and codec; only time and the network are simulated.
The result depends only on the settings, the seed, the machine and the build, not on how many learners compute at once.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial

from edgekd.config import Config, Outage
from edgekd.contract import make_contract
from edgekd.data.datasets import PeerData
from edgekd.files.summary import PeerSummary, Summary
from edgekd.learning.learner import Learner
from edgekd.protocol.exchange import Exchange
from edgekd.protocol.messages import Contract, Frame
from edgekd.seeds import uniform
from edgekd.simulation.box import Box, Learning, Report, hearing, liars
from edgekd.simulation.events import TICKS, Kind, Queue
from edgekd.simulation.links import Conditions, Links, Sent
from edgekd.simulation.stand_in import StandIn, contract_of
from edgekd.simulation.station import Phase, Station, Submit

STEP_JITTER = 0.1  # as a fraction; with exact ratios of speeds, the peers would stay in phase


class Asynchronous:
    """All peers of a group, and the events between them.

    Args:
        group: peer id -> its data, or None for a stand-in.
        config: all settings; they are the same for all peers.
        submit: starts a computation and returns at once, with a future.
        report: is called after every step of a peer, in the order of the virtual clock.

    Raises:
        ConfigError: the topology or the network is not available.
    """

    def __init__(self, group: Mapping[int, PeerData | None], config: Config, submit: Submit, report: Report) -> None:
        self._config, self._group, self._submit, self._report = config, group, submit, report
        self._ids = sorted(group)
        self._neighbours, self._liars = hearing(config, self._ids), liars(config, self._ids)
        data = next(iter(group.values()))
        self._contract: Contract = make_contract(data.public, config) if data else contract_of(config)
        self._queue = Queue()
        seed = config.train.seed
        self._links = Links(self._queue, self._neighbours, _conditions(config), seed, self._receive)
        self._stations = {id: self._station(id) for id in self._ids}
        self._outages = config.simulation.outages()
        self._taking_part = set(self._ids)

    def run(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Run until every peer has done its steps and left, or is off for good.

        When `stop()` becomes true, each peer ends with its present step.
        """
        for outage in self._outages:
            self._plan(outage)
        absent = {outage.id for outage in self._outages if round(outage.begins * TICKS) == 0}
        for id in self._ids:
            if id not in absent:
                self._stations[id].start()
        self._greet([id for id in self._ids if id not in absent])
        self._queue.run(lambda: not self._taking_part or stop())
        if stop():
            for station in self._stations.values():
                station.stop()

    def summary(self) -> Summary:
        """The results of all peers."""
        return Summary(peers=tuple(self._peer(self._stations[id]) for id in self._ids))

    def learners(self) -> dict[int, Learning]:
        """The learners by id; a stand-in where there was no data."""
        return {id: station.box.learner for id, station in self._stations.items()}

    def _peer(self, station: Station) -> PeerSummary:
        exchange = station.box.exchange
        ages = tuple(age for age, count in sorted(exchange.ages.items()) for _ in range(count))
        teachers = exchange.teachers / len(ages) if ages else 0.0
        station.box.bytes_sent = self._links.bytes_sent[station.id]
        return station.box.summary(replaced=station.replaced, ages=ages, teachers=teachers)

    # -- peers that come and go --------------------------------------------------------------------------------------

    def _plan(self, outage: Outage) -> None:
        begins, ends = round(outage.begins * TICKS), outage.ends
        if begins:
            self._queue.at(begins, Kind.OUTAGE, outage.id, partial(self._switch_off, outage.id))
        if ends < math.inf:
            self._queue.at(round(ends * TICKS), Kind.OUTAGE, outage.id, partial(self._switch_on, outage))
        else:
            self._queue.at(begins, Kind.OUTAGE, outage.id, partial(self._left, outage.id))

    def _switch_off(self, id: int) -> None:
        station = self._stations[id]
        if not station.is_on:
            return
        station.stop()
        self._links.cut(id)
        for neighbour in self._neighbours[id]:
            self._stations[neighbour].miss(id)

    def _switch_on(self, outage: Outage) -> None:
        station, id = self._stations[outage.id], outage.id
        if station.is_on or station.state is Phase.DONE:
            return
        if outage.fresh:
            station.box, station.replaced, self._links.bytes_sent[id] = self._box(id), 0, 0
        else:
            before, learner = station.box.exchange, station.box.learner
            station.box.exchange = self._exchange(id, learner)
            station.box.exchange.resume(learner.step, before.counts)
            station.box.exchange.ages, station.box.exchange.teachers = before.ages, before.teachers
        station.start()
        self._greet([id])

    def _greet(self, ids: list[int]) -> None:
        """Open streams between these peers and those of their neighbours that are on."""
        for id in ids:
            for neighbour in self._neighbours[id]:
                if self._stations[neighbour].is_on and not (neighbour in ids and neighbour < id):
                    self._stations[id].greet(neighbour)
                    self._stations[neighbour].greet(id)

    def _left(self, id: int) -> None:
        self._taking_part.discard(id)

    def _receive(self, receiver: int, sender: int, what: Sent | Frame) -> None:
        self._stations[receiver].receive(sender, what)

    # -- how a peer is made ------------------------------------------------------------------------------------------

    def _station(self, id: int) -> Station:
        settings, seed = self._config.simulation, self._config.train.seed
        times = settings.times()
        jitter = STEP_JITTER if settings.step_jitter is None else settings.step_jitter
        ticks = times[id % len(times)] / times[0] * TICKS

        def step_ticks(step: int) -> int:
            return max(1, round(ticks * (1 + jitter * (2 * uniform(seed, "step time", id, step) - 1))))

        return Station(
            self._box(id),
            self._queue,
            self._links,
            self._contract,
            self._submit,
            step_ticks=step_ticks,
            offset=round(ticks * uniform(seed, "start", id)),
            step_seconds=settings.step_seconds or 1.0,
            steps=self._config.steps,
            liar_frames=(settings.liar_frames or 0) if id in self._liars else 0,
            report=self._report,
            left=self._left,
        )

    def _box(self, id: int) -> Box:
        data = self._group[id]
        learner: Learning = Learner(data, self._config, id) if data else StandIn(self._config)
        exchange = self._exchange(id, learner)
        return Box(id, learner, exchange, data, self._config, liar=id in self._liars)

    def _exchange(self, id: int, learner: Learning) -> Exchange:
        """Make a peer's exchange; by default it waits for all neighbours and lingers as long as they need."""
        given, count = self._config.exchange, len(self._neighbours[id])
        exchange = dataclasses.replace(
            given,
            wait_for=count if given.wait_for is None else given.wait_for,
            linger=math.inf if given.linger is None else given.linger,
        )
        config = dataclasses.replace(self._config, exchange=exchange)
        return Exchange(config, alone_until=learner.alone_until, neighbours=max(1, count))


def _conditions(config: Config) -> Conditions:
    settings = config.simulation
    return Conditions(
        delay=settings.delay or 0.0,
        jitter=settings.jitter or 0.0,
        bandwidth=settings.bandwidth,
        loss=settings.loss or 0.0,
        step_seconds=settings.step_seconds or 1.0,
    )
