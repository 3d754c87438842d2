"""The board: the predictions that have arrived from the neighbours, and the choice of the lesson for a step.

A lesson is what one training step learns from: a round, and the predictions of its teachers. A round is a number that
names a public batch. The board is pure: the caller counts the steps.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from edgekd.protocol.messages import Lesson

ROUNDS = 16  # that are kept for each neighbour; the outbox and the network's queue have the same limit
NEIGHBOURS = 128  # default for how many neighbours are kept
# Predictions count as new only if their neighbour's trust is at least this. In simulations, honest neighbours had 0.4
# and more. A liar without other neighbours is compared with this peer's own predictions only, and keeps 0.1 to 0.2.
TRUSTED = 0.25
NEVER = -1  # in place of a step: no step has learned from this neighbour yet

Trust = Mapping[int, float]  # neighbour's id -> trust in [0, 1]; a neighbour that is missing has full trust, 1


@dataclass(slots=True)
class _Posted:
    probs: Tensor  # [heads, rows, classes]
    arrived: int  # the receiver's step at which they arrived
    order: int  # order of arrival, over all neighbours
    used: bool = False


@dataclass(slots=True)
class _Neighbour:
    instance: int
    since: int  # the receiver's step at which its first predictions arrived
    last_round: int = -1
    learned: int = NEVER  # the receiver's step that last learned from it
    frames: dict[int, _Posted] = field(default_factory=dict)  # by round, oldest first


class _Rank(NamedTuple):
    """The value of a round as a lesson; rounds are compared by the first field that differs."""

    overdue: bool
    trust: float  # sum over its teachers
    idle: int  # larger if a teacher was last learned from longer ago
    latest: int  # order of arrival


class Board:
    """The predictions of the last rounds from each neighbour.

    Args:
        max_age: after so many steps of the receiver, predictions are no longer used.
        rounds: how many rounds are kept for each neighbour.
        neighbours: how many neighbours are kept. If there are more, those that have sent nothing for longest go.
    """

    def __init__(self, *, max_age: int, rounds: int = ROUNDS, neighbours: int = NEIGHBOURS) -> None:
        self._max_age, self._rounds, self._limit = max_age, rounds, neighbours
        self._neighbours: dict[int, _Neighbour] = {}
        self._order = 0

    def post(self, peer: int, instance: int, round: int, probs: Tensor, step: int) -> bool:
        """Store the predictions that `peer` has sent.

        Args:
            peer: the sender's id.
            instance: the number of the sender's start.
            round: the round that the predictions are about.
            probs: probabilities ``[heads, rows, classes]``.
            step: the receiver's step.

        Returns:
            False if they were ignored, because `round` is not above the last one from the same instance.
        """
        neighbour = self._neighbours.get(peer)
        if neighbour is None or neighbour.instance != instance:
            # A new instance may start at any round. What the old one sent is used until it is too old.
            old = neighbour or _Neighbour(instance, step)
            neighbour = _Neighbour(instance, old.since, learned=old.learned, frames=old.frames)
        if round <= neighbour.last_round:
            return False
        neighbour.last_round = round
        neighbour.frames.pop(round, None)
        self._order += 1
        neighbour.frames[round] = _Posted(probs, step, self._order)
        while len(neighbour.frames) > self._rounds:
            neighbour.frames.pop(next(iter(neighbour.frames)))
        self._neighbours.pop(peer, None)
        self._neighbours[peer] = neighbour  # the neighbour that sent last stands last
        while len(self._neighbours) > self._limit:
            self._neighbours.pop(next(iter(self._neighbours)))
        return True

    def senders(self, step: int) -> set[int]:
        """The ids of the neighbours with predictions that are not too old."""
        return {
            peer
            for peer, neighbour in self._neighbours.items()
            if any(step - posted.arrived <= self._max_age for posted in neighbour.frames.values())
        }

    def pick(self, step: int, trust: Trust) -> Lesson | None:
        """Choose the lesson of an asynchronous step; None: nothing has arrived within `max_age` steps.

        The choice is the first of these that exists:

        1. a round with new predictions of an overdue neighbour. A neighbour is overdue if no step has learned from it
           for `max_age` steps. So no neighbour is excluded for ever, whatever its trust;
        2. a round with new predictions of a neighbour whose trust is at least `TRUSTED`;
        3. if nothing is new, the round that arrived last and holds predictions of such a trusted neighbour.

        Among several rounds of 1 or 2, the round with the largest sum of trust is chosen. If these are equal, it is
        the one whose teachers were learned from longest ago, then the one that arrived last.
        """
        rounds = self._by_round(step)
        chosen = self._choose(rounds, step, trust)
        if chosen is None:
            return None
        return self._lesson(chosen, rounds[chosen], step, max(trust.get(peer, 1.0) for peer in rounds[chosen]))

    def peek(self, step: int, trust: Trust) -> int | None:
        """The round that `pick` would choose now; None: there is none. Nothing is marked as used."""
        return self._choose(self._by_round(step), step, trust)

    def pick_round(self, round: int, step: int) -> Lesson | None:
        """The lesson of a synchronous step: all predictions of exactly this round; None: there are none."""
        frames = {p: n.frames[round] for p, n in sorted(self._neighbours.items()) if round in n.frames}
        return self._lesson(round, frames, step, 1.0) if frames else None

    def last_round(self, peer: int) -> int:
        """The newest round that has arrived from `peer`; -1 if none has."""
        return self._neighbours[peer].last_round if peer in self._neighbours else -1

    def _by_round(self, step: int) -> dict[int, dict[int, _Posted]]:
        rounds: dict[int, dict[int, _Posted]] = {}
        for peer, neighbour in sorted(self._neighbours.items()):
            for round, posted in neighbour.frames.items():
                if step - posted.arrived <= self._max_age:
                    rounds.setdefault(round, {})[peer] = posted
        return rounds

    def _choose(self, rounds: Mapping[int, Mapping[int, _Posted]], step: int, trust: Trust) -> int | None:
        here = {peer for frames in rounds.values() for peer in frames}
        trusted = {peer for peer in here if trust.get(peer, 1.0) >= TRUSTED}
        overdue = {peer for peer in here if step - self._waiting_since(peer) > self._max_age}
        ranks: dict[int, _Rank] = {}
        for round, frames in rounds.items():
            new = {peer for peer, posted in frames.items() if not posted.used} & (trusted | overdue)
            if new:
                ranks[round] = _Rank(
                    overdue=bool(new & overdue),
                    trust=sum(trust.get(peer, 1.0) for peer in frames),
                    idle=-min(self._neighbours[peer].learned for peer in new),
                    latest=_latest(frames.values()),
                )
        if ranks:
            return max(ranks, key=lambda round: ranks[round])
        again = {round: frames for round, frames in rounds.items() if not trusted.isdisjoint(frames)}
        return max(again, key=lambda round: _latest(again[round].values()), default=None)

    def _waiting_since(self, peer: int) -> int:
        """The step that last learned from `peer`; if none has, the step in which `peer` first sent."""
        neighbour = self._neighbours[peer]
        return neighbour.since if neighbour.learned == NEVER else neighbour.learned

    def _lesson(self, round: int, frames: Mapping[int, _Posted], step: int, trust: float) -> Lesson:
        fresh = not all(posted.used for posted in frames.values())
        age = step - max(posted.arrived for posted in frames.values())
        for peer, posted in frames.items():
            posted.used = True
            self._neighbours[peer].learned = step
        return Lesson(round, {peer: posted.probs for peer, posted in frames.items()}, fresh, age, trust)


def _latest(frames: Iterable[_Posted]) -> int:
    return max(posted.order for posted in frames)
