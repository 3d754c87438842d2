"""What has arrived from the neighbours, and which lesson a step learns from. Pure: the caller counts the steps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from edgekd.protocol.messages import Lesson

ROUNDS = 16  # rounds kept for each neighbour; the outbox and the network's queue have the same limit
NEIGHBOURS = 128  # that are kept, if nothing else is said
# Trust from which a neighbour's predictions count as news. Honest neighbours had 0.4 and more in simulations. A liar
# that speaks alone is compared with this peer's own predictions only, so its trust stays at some 0.1 to 0.2.
TRUSTED = 0.25
NEVER = -1  # the step in which a neighbour was learned from last, if it never was

Trust = Mapping[int, float]  # by the neighbour's id, in [0, 1]; who is missing is trusted fully: 1


@dataclass(slots=True)
class _Posted:
    probs: Tensor  # [heads, rows, classes]
    arrived: int  # the receiver's step
    order: int  # of arrival, over all neighbours
    used: bool = False


@dataclass(slots=True)
class _Neighbour:
    instance: int
    since: int  # the receiver's step in which its first predictions came
    last_round: int = -1
    learned: int = NEVER  # the receiver's step in which it was learned from last
    frames: dict[int, _Posted] = field(default_factory=dict)  # by round, oldest first


class _Rank(NamedTuple):
    """What makes one round a better lesson than another; the first field that differs decides."""

    overdue: bool
    trust: float  # of its teachers, added up
    idle: int  # larger where a teacher was learned from longer ago
    latest: int  # order of arrival


class Board:
    """Each neighbour's predictions of its last few rounds.

    Args:
        max_age: steps (the receiver's own) for which predictions serve.
        rounds: how many rounds are kept for each neighbour.
        neighbours: how many are kept; of more, those whose last predictions came first are forgotten.
    """

    def __init__(self, *, max_age: int, rounds: int = ROUNDS, neighbours: int = NEIGHBOURS) -> None:
        self._max_age, self._rounds, self._limit = max_age, rounds, neighbours
        self._neighbours: dict[int, _Neighbour] = {}
        self._order = 0

    def post(self, peer: int, instance: int, round: int, probs: Tensor, step: int) -> bool:
        """Put up what `peer` sent; False if it was ignored: not above the last round from the same instance."""
        neighbour = self._neighbours.get(peer)
        if neighbour is None or neighbour.instance != instance:
            # A new instance starts over; what the old one sent still serves until it is too old.
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
        self._neighbours[peer] = neighbour  # the last to send is last
        while len(self._neighbours) > self._limit:
            self._neighbours.pop(next(iter(self._neighbours)))
        return True

    def senders(self, step: int) -> set[int]:
        """The neighbours whose predictions here still serve."""
        return {
            peer
            for peer, neighbour in self._neighbours.items()
            if any(step - posted.arrived <= self._max_age for posted in neighbour.frames.values())
        }

    def pick(self, step: int, trust: Trust) -> Lesson | None:
        """The lesson of an asynchronous step; None: nothing has arrived within `max_age`.

        Chosen is, in this order:

        1. a round with new predictions of an overdue neighbour: one that was not learned from for `max_age` steps. So
           nobody is shut out for good, whatever its trust;
        2. a round with new predictions of a neighbour that is trusted at least `TRUSTED`;
        3. if nothing is new, the round that arrived last and holds such a neighbour's predictions.

        Of several rounds it is the one with the largest sum of trust, then the one whose teachers were learned from
        longest ago, then the one that arrived last.
        """
        rounds = self._by_round(step)
        chosen = self._choose(rounds, step, trust)
        if chosen is None:
            return None
        return self._lesson(chosen, rounds[chosen], step, max(trust.get(peer, 1.0) for peer in rounds[chosen]))

    def peek(self, step: int, trust: Trust) -> int | None:
        """The round that `pick` would choose now."""
        return self._choose(self._by_round(step), step, trust)

    def pick_round(self, round: int, step: int) -> Lesson | None:
        """The lesson of a synchronous step: everything that lies here of exactly this round."""
        frames = {p: n.frames[round] for p, n in sorted(self._neighbours.items()) if round in n.frames}
        return self._lesson(round, frames, step, 1.0) if frames else None

    def last_round(self, peer: int) -> int:
        """The newest round that has arrived from `peer`; -1: none."""
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
        """The step in which `peer` was learned from last, or in which it came if it never was."""
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
