"""The exchange algorithm of one peer: what it teaches and learns, for whom it waits, and when it leaves.

`Exchange` is a state machine without I/O. Its drivers are the peer's process, the lockstep simulation and the
asynchronous simulation; they leave all these decisions to it. A driver calls, in this order:

1. `may_begin`, until it says that the first step may begin.
2. For each step: `post` for what has arrived; `teach`, and a broadcast if it names a round; `post` again; as long as
   `awaits` names neighbours, wait for news and `post` them; then `lesson`. After the learner has learned, `heed`, with
   the disagreements that the learner has measured.
3. For asynchronous peers that have done their steps: `begin_lingering`, then `linger` repeatedly, until it says None.

`group` is always the list of neighbours as they are now. The driver must read it before it posts what has arrived: the
last predictions of a neighbour come before its goodbye. Times are seconds of one monotonic clock. Steps are those of
this peer.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from torch import Tensor

from edgekd.losses.trust import relative
from edgekd.protocol.board import NEIGHBOURS, ROUNDS, Board
from edgekd.protocol.counts import Counts
from edgekd.protocol.members import Member
from edgekd.protocol.messages import Lesson
from edgekd.protocol.schedule import heard_round, is_due, lockstep_round, next_round

if TYPE_CHECKING:
    from edgekd.config import Config

START_TIMEOUT = 120.0  # seconds for which an asynchronous peer waits for its neighbours
DEFAULT_LINGER = 60.0  # seconds
# A peer that has done its steps goes on teaching unfinished neighbours. It does not wait for a neighbour that has
# taught nothing for the longer of these two times. The first is longer than a start or an evaluation takes.
LINGER_FOR_SILENT = 600.0  # seconds
LINGER_FOR_SLOW = 100.0  # intervals between two broadcasts of this peer: a neighbour may be slower
# With --linger inf, a peer leaves at the latest after the longer of these two times, even if others still teach.
LINGER_AT_MOST = 10.0  # times the duration of this peer's whole training
LINGER_AT_LEAST = 3.0  # times the time for which it waits for a silent neighbour


class Start(Enum):
    """Whether training may begin."""

    NOW = "now"
    SHORT = "short"  # yes: neighbours are missing, but the peer has waited long enough
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Teach:
    """The order to broadcast predictions about `round` now."""

    round: int
    keep: bool = False  # keep the forward pass, since this round is also the lesson of the step


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do before the time `until` (in seconds), or until something changes."""

    until: float


class Exchange:
    """The exchange of predictions between one peer and its neighbours.

    Args:
        config: all settings. With alpha 1 the peer teaches and does not learn; ``wait_for`` None means 0.
        alone_until: the step before which the peer neither teaches nor learns, in training with two phases.
        neighbours: the largest number of neighbours whose predictions are kept.
    """

    def __init__(
        self,
        config: "Config",
        *,
        alone_until: int = 0,
        neighbours: int = NEIGHBOURS,
    ) -> None:
        self._config, self._alone_until = config.exchange, alone_until
        self._steps, self._learns = config.steps, config.distill.alpha < 1
        self._board = Board(max_age=config.exchange.max_age, rounds=ROUNDS, neighbours=neighbours)
        self._first_step = 0
        self._disagreements: Mapping[int, float] = {}
        self._leave_at, self._pace, self._rest_until = math.inf, 0.0, -math.inf
        self._lingers_since = -math.inf
        self._taught: dict[int, tuple[int, float]] = {}  # id -> bytes received, and the time at which these last grew
        self.published = -1  # the newest round that this peer has published since its start; -1: none
        self.counts = Counts()
        self.ages: Counter[int] = Counter()  # number of lessons since this start, by their age in steps
        self.teachers = 0  # sum of the number of teachers over those lessons

    @property
    def lockstep(self) -> bool:
        """Whether the group is synchronous: each lesson waits for the predictions of its round."""
        return self._config.sync is not None

    def resume(self, step: int, counts: Counts) -> None:
        """Continue at `step` with the stored counts.

        The round is not restored: the neighbours know which round the group has reached.
        """
        self._first_step, self.counts = step, counts

    # -- before the first step ---------------------------------------------------------------------------------------

    def may_begin(self, group: Sequence[Member], *, own_addresses: int = 0, waited: float) -> Start:
        """Whether the first step may begin.

        Args:
            group: the neighbours.
            own_addresses: how many of the dialled addresses turned out to be this peer itself. They count as present.
            waited: seconds since it began to wait.
        """
        wanted = self._config.wait_for or 0
        if self.is_done(self._first_step) or sum(member.up for member in group) + own_addresses >= wanted:
            return Start.NOW
        # A neighbour is past round 0 without this peer: this peer joins late, and the group already waits for it.
        if self.lockstep and any(member.up and member.round >= 1 for member in group):
            return Start.NOW
        return Start.WAIT if waited < self.start_timeout else Start.SHORT

    @property
    def start_timeout(self) -> float:
        """The longest time, in seconds, for which a peer waits for its neighbours before its first step.

        It is infinite in lockstep. After a resume, it is infinite only if ``--sync`` has no limit.
        """
        sync = self._config.sync
        waits_for_all = sync is not None and (self._first_step == 0 or math.isinf(sync))
        return math.inf if waits_for_all else START_TIMEOUT

    # -- a step ------------------------------------------------------------------------------------------------------

    def post(self, peer: int, instance: int, round: int, probs: Tensor, step: int) -> bool:
        """Store predictions that arrived from `peer` before or during `step`.

        Args:
            peer: the sender's id.
            instance: the number of the sender's start.
            round: the round that the predictions are about.
            probs: probabilities ``[heads, rows, classes]``.
            step: the step of this peer.

        Returns:
            False if they were ignored, because `round` is not above the last one from the same instance.
        """
        return self._board.post(peer, instance, round, probs, step)

    def heed(self, disagreements: Mapping[int, float]) -> None:
        """Store the newest disagreement of each neighbour, by its id.

        A disagreement, in [0, 1], says how far the neighbour's predictions are from those of the others.
        """
        self._disagreements = disagreements

    def teach(self, step: int, group: Sequence[Member]) -> Teach | None:
        """What to broadcast at the beginning of `step`, or None; the round then counts as published."""
        every = self._config.broadcast_every
        if step < self._alone_until:
            return None
        # In lockstep, a peer that starts or restarts broadcasts at once: the others wait for this round.
        begins = self.lockstep and step == max(self._first_step, self._alone_until)
        if not (is_due(step, every) or begins):
            return None
        if self.lockstep:
            return self._publish(lockstep_round(step, every), True)
        round = next_round(self.published, group)
        if round == self.published:  # no round is left, and neighbours refuse a round that they had
            return None
        return self._publish(round, self._learns and self._board.peek(step, self.trust(step)) == round)

    def awaits(self, step: int, group: Sequence[Member], *, waited: float = 0.0) -> frozenset[int]:
        """The neighbours whose predictions the lesson of `step` must wait for; empty in asynchronous mode.

        A neighbour is not waited for if it is down or done, if its predictions of this round or a later one are here,
        or if its newest predictions had to be refused. After ``--sync SECONDS``, no neighbour is waited for.

        Args:
            step: the step of this peer.
            group: the neighbours.
            waited: seconds for which this step has already waited.
        """
        if not self.lockstep or step < self._alone_until or waited >= self.lesson_timeout:
            return frozenset()
        round = lockstep_round(step, self._config.broadcast_every)
        live = [member.id for member in group if member.up and not member.done and not member.unsound]
        return frozenset(id for id in live if self._board.last_round(id) < round)

    def note_wait(self) -> None:
        """Count one more step that waits for the network."""
        self.counts = replace(self.counts, waits=self.counts.waits + 1)

    @property
    def lesson_timeout(self) -> float:
        """The longest time, in seconds, for which a lesson waits for predictions: ``--sync SECONDS``."""
        return self._config.sync or 0.0

    def lesson(self, step: int, group: Sequence[Member]) -> Lesson | None:
        """Choose the lesson that `step` learns from, and count it; None: the step learns from labels alone."""
        if step < self._alone_until:
            return None
        if self.lockstep:
            found = self._board.pick_round(lockstep_round(step, self._config.broadcast_every), step)
            live = {member.id for member in group if member.up and not member.done}
            missing = len(live.difference(found.teachers if found else ()))
            self.counts = replace(self.counts, missing=self.counts.missing + missing)
        else:
            found = self._board.pick(step, self.trust(step))
        if found is None or not self._learns:
            return None
        lessons, fresh = self.counts.lessons + 1, self.counts.fresh_lessons + found.fresh
        self.counts = replace(self.counts, lessons=lessons, fresh_lessons=fresh)
        self.teachers += len(found.teachers)
        self.ages[found.age] += 1
        return found

    def trust(self, step: int) -> dict[int, float]:
        """The trust in each neighbour whose predictions are at most ``max_age`` steps old, in (0, 1].

        It is relative to the other neighbours. A neighbour that was never learned from has full trust: it is missing
        in the result.
        """
        heard = self._board.senders(step)
        return relative({id: score for id, score in self._disagreements.items() if id in heard})

    def is_done(self, step: int) -> bool:
        """Whether `step` steps are all that this peer is to do; never if its training has no end (steps 0)."""
        return 0 < self._steps <= step

    # -- after the last step -----------------------------------------------------------------------------------------

    def begin_lingering(self, now: float, *, seconds_a_step: float) -> None:
        """Begin to linger: all steps are done, and the peer from now on only teaches, no faster than it trained.

        Args:
            now: the time.
            seconds_a_step: the seconds that one step of this peer took.
        """
        self._lingers_since = now
        self._pace = seconds_a_step * self._config.broadcast_every
        limit = DEFAULT_LINGER if self._config.linger is None else self._config.linger
        if math.isinf(limit):
            limit = max(LINGER_AT_MOST * self._steps * seconds_a_step, LINGER_AT_LEAST * self._silence)
        self._leave_at = now + limit

    def linger(self, now: float, group: Sequence[Member]) -> Teach | Rest | None:
        """The next action of a peer that has done its steps; None: it leaves.

        It teaches whenever it hears of a newer round, and never opens a new round itself. It leaves when no neighbour
        is unfinished (`Member.unfinished`), or after ``--linger`` seconds. A neighbour that says it is unfinished, but
        has stopped teaching, counts only for a limited time. Even if a neighbour goes on teaching, ``--linger inf``
        ends after `LINGER_AT_MOST` times the duration of the training or, if that is longer, after `LINGER_AT_LEAST`
        times the time for which a silent neighbour counts.
        """
        self._note_taught(now, group)
        unfinished = [self._counts_until(member) for member in group if member.unfinished]
        leave_at = min(self._leave_at, max(unfinished, default=now))
        if self.lockstep or now >= leave_at:
            return None
        if now < self._rest_until:
            return Rest(min(self._rest_until, leave_at))
        if (round := heard_round(self.published, group)) > self.published:
            self._rest_until = now + self._pace
            return self._publish(round, False)
        return Rest(leave_at)

    def _note_taught(self, now: float, group: Sequence[Member]) -> None:
        """Note which neighbours have taught since the last call. Neighbours that are not in `group` are forgotten."""
        before = self._taught
        self._taught = {}
        for member in group:
            received, since = before.get(member.id, (0, now))
            if member.bytes_received > 0:
                self._taught[member.id] = (member.bytes_received, now if member.bytes_received > received else since)

    def _counts_until(self, member: Member) -> float:
        """The time, in seconds, until which an unfinished neighbour counts if it teaches no more."""
        _, since = self._taught.get(member.id, (0, self._lingers_since))
        return since + self._silence

    @property
    def _silence(self) -> float:
        """How long, in seconds, an unfinished neighbour counts that teaches nothing."""
        return max(LINGER_FOR_SILENT, LINGER_FOR_SLOW * self._pace)

    def _publish(self, round: int, keep: bool) -> Teach:
        self.published = round
        return Teach(round, keep)
