"""What has arrived from the neighbours, and which lesson a step learns from. Pure: the caller counts the steps."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

from edgekd.protocol.messages import Lesson

ROUNDS = 16  # of each neighbour that are kept: so no more need be on their way


@dataclass(slots=True)
class _Posted:
    probs: Tensor  # [heads, rows, classes]
    arrived: int  # the receiver's step
    order: int  # of arrival, over all neighbours
    used: bool = False


@dataclass(slots=True)
class _Neighbour:
    instance: int
    last_round: int = -1
    frames: dict[int, _Posted] = field(default_factory=dict)  # by round, oldest first


class Board:
    """Each neighbour's frames of its last few rounds.

    Args:
        max_age: steps (the receiver's own) for which a frame serves.
        rounds: how many rounds are kept for each neighbour.
        neighbours: how many are kept; of more, those whose last frame came first are forgotten.
    """

    def __init__(self, *, max_age: int, rounds: int = ROUNDS, neighbours: int = 128) -> None:
        self._max_age, self._rounds, self._limit = max_age, rounds, neighbours
        self._neighbours: dict[int, _Neighbour] = {}
        self._order = 0

    def post(self, peer: int, instance: int, round: int, probs: Tensor, step: int) -> bool:
        """Put up what `peer` sent; False if it was ignored: not above the last round from the same instance."""
        neighbour = self._neighbours.get(peer)
        if neighbour is None or neighbour.instance != instance:
            # A new instance starts over; what the old one said still serves until it is too old.
            old = neighbour.frames if neighbour else {}
            neighbour = _Neighbour(instance, frames=old)
        if round <= neighbour.last_round:
            return False
        neighbour.last_round = round
        neighbour.frames.pop(round, None)
        self._order += 1
        neighbour.frames[round] = _Posted(probs, step, self._order)
        while len(neighbour.frames) > self._rounds:
            neighbour.frames.pop(next(iter(neighbour.frames)))
        self._neighbours.pop(peer, None)
        self._neighbours[peer] = neighbour  # the last to speak is last
        while len(self._neighbours) > self._limit:
            self._neighbours.pop(next(iter(self._neighbours)))
        return True

    def pick(self, step: int) -> Lesson | None:
        """The lesson of an asynchronous step.

        Among rounds that hold a frame not yet learned from, the one with most teachers, the latest arrived first;
        nothing new: the latest again; nothing within `max_age`: None.
        """
        rounds = self._by_round(step)
        chosen = _choose(rounds)
        return None if chosen is None else _lesson(chosen, rounds[chosen], step)

    def peek(self, step: int) -> int | None:
        """The round that `pick` would choose now."""
        return _choose(self._by_round(step))

    def pick_round(self, round: int, step: int) -> Lesson | None:
        """The lesson of a synchronous step: everything that lies here of exactly this round."""
        frames = {p: n.frames[round] for p, n in sorted(self._neighbours.items()) if round in n.frames}
        return _lesson(round, frames, step) if frames else None

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


def _choose(rounds: dict[int, dict[int, _Posted]]) -> int | None:
    fresh = {r: frames for r, frames in rounds.items() if not all(f.used for f in frames.values())}
    if fresh:
        return max(fresh, key=lambda r: (len(fresh[r]), _latest(fresh[r].values())))
    return max(rounds, key=lambda r: _latest(rounds[r].values()), default=None)


def _latest(frames: Iterable[_Posted]) -> int:
    return max(posted.order for posted in frames)


def _lesson(round: int, frames: dict[int, _Posted], step: int) -> Lesson:
    fresh = not all(posted.used for posted in frames.values())
    age = step - max(posted.arrived for posted in frames.values())
    for posted in frames.values():
        posted.used = True
    return Lesson(round, {peer: posted.probs for peer, posted in frames.items()}, fresh, age)
