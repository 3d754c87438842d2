"""The exchange algorithm of one peer: which round to teach, which lesson to learn, whom to wait for, when to leave.

A state machine without I/O. The peer's process, the lockstep simulation and the asynchronous simulation drive it, and
decide nothing of this themselves. A driver does the following, in this order:

1. `may_begin`, until it says that the first step may begin.
2. For each step: `post` what has arrived; `teach`, and broadcast if it names a round; `post` again; while `awaits`
   names neighbours, wait for news and `post`; then `lesson`. After the learner has learned, `heed` its disagreements.
3. Asynchronous peers that have done their steps: `begin_lingering`, then `linger` again and again, until it says None.

`group` is always the neighbours as they are now. The driver reads it before it posts what has arrived, since the last
predictions of a neighbour come before its goodbye. Times are seconds of one monotonic clock; steps are the peer's own.
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

START_TIMEOUT = 120.0  # seconds that an asynchronous peer waits for its neighbours
DEFAULT_LINGER = 60.0  # seconds
# A neighbour that has taught nothing for so long holds up nobody's end. Longer than a start or an evaluation takes.
LINGER_FOR_SILENT = 600.0  # seconds; or, if that is longer:
LINGER_FOR_SLOW = 100.0  # times the interval between two broadcasts of this peer: a neighbour may be slower
# Without a limit, lingering ends after so many times as long as all training of this peer takes, whoever teaches:
LINGER_AT_MOST = 10.0
LINGER_AT_LEAST = 3.0  # or, if that is longer, after so many times as long as a silent neighbour is waited for


class Start(Enum):
    """Whether training may begin."""

    NOW = "now"
    SHORT = "short"  # it may, although neighbours are missing: the wait was long enough
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Teach:
    """Broadcast predictions about `round` now."""

    round: int
    keep: bool = False  # keep the forward pass: this round is also the lesson of the step


@dataclass(frozen=True, slots=True)
class Rest:
    """There is nothing to do before `until` (in seconds), or before something changes."""

    until: float


class Exchange:
    """One peer's exchange with its neighbours.

    Args:
        config: all settings. At alpha 1 the peer only teaches; ``wait_for`` None means 0.
        alone_until: the step before which it neither teaches nor learns: the first of two phases.
        neighbours: how many it can have at most; more are forgotten.
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
        self._taught: dict[int, tuple[int, float]] = {}  # by id: bytes received, and when these last grew
        self.published = -1  # the newest round that this peer has published since it was started; -1: none
        self.counts = Counts()
        self.ages: Counter[int] = Counter()  # lessons since this start, by their age in steps
        self.teachers = 0  # of those lessons, added up

    @property
    def lockstep(self) -> bool:
        """Whether the group is synchronous."""
        return self._config.sync is not None

    def resume(self, step: int, counts: Counts) -> None:
        """Go on at `step`. The round is not restored: the neighbours know where the group is."""
        self._first_step, self.counts = step, counts

    # -- before the first step ---------------------------------------------------------------------------------------

    def may_begin(self, group: Sequence[Member], *, own_addresses: int = 0, waited: float) -> Start:
        """Whether the first step may begin.

        Args:
            group: the neighbours.
            own_addresses: how many of the addresses that this peer dials are its own: they count as there.
            waited: seconds since it began to wait.
        """
        wanted = self._config.wait_for or 0
        if self.is_done(self._first_step) or sum(member.up for member in group) + own_addresses >= wanted:
            return Start.NOW
        # Beyond round 0 without this peer: it joins a group in lockstep late, and the group now waits for it.
        if self.lockstep and any(member.up and member.round >= 1 for member in group):
            return Start.NOW
        return Start.WAIT if waited < self.start_timeout else Start.SHORT

    @property
    def start_timeout(self) -> float:
        """Seconds that a peer waits for its neighbours before its first step.

        Lockstep waits without limit. After a resume it does so only if ``--sync`` has no limit.
        """
        sync = self._config.sync
        waits_for_all = sync is not None and (self._first_step == 0 or math.isinf(sync))
        return math.inf if waits_for_all else START_TIMEOUT

    # -- a step ------------------------------------------------------------------------------------------------------

    def post(self, peer: int, instance: int, round: int, probs: Tensor, step: int) -> bool:
        """Take predictions ``[heads, rows, classes]`` that arrived from `peer` before or during `step`.

        Returns False if they were ignored: `round` is not above the last from the same instance.
        """
        return self._board.post(peer, instance, round, probs, step)

    def heed(self, disagreements: Mapping[int, float]) -> None:
        """Take the newest disagreement of each neighbour with the rest, in [0, 1], by its id."""
        self._disagreements = disagreements

    def teach(self, step: int, group: Sequence[Member]) -> Teach | None:
        """What to broadcast at the beginning of `step`; None: nothing is due. The round counts as published."""
        every = self._config.broadcast_every
        if step < self._alone_until:
            return None
        # In lockstep a peer that begins, or was restarted, broadcasts at once what the others wait for.
        begins = self.lockstep and step == max(self._first_step, self._alone_until)
        if not (is_due(step, every) or begins):
            return None
        if self.lockstep:
            return self._publish(lockstep_round(step, every), True)
        round = next_round(self.published, group)
        if round == self.published:  # there is no other left, and neighbours refuse a repeat
            return None
        return self._publish(round, self._learns and self._board.peek(step, self.trust(step)) == round)

    def awaits(self, step: int, group: Sequence[Member], *, waited: float = 0.0) -> frozenset[int]:
        """The neighbours whose predictions the lesson of `step` must wait for; nobody in asynchronous mode.

        A neighbour is not waited for if it is down or done, if its predictions of this round or a later one are here,
        or if its newest predictions had to be refused. After ``--sync SECONDS`` nobody is waited for.

        Args:
            step: of this peer.
            group: the neighbours.
            waited: seconds for which this step has waited already.
        """
        if not self.lockstep or step < self._alone_until or waited >= self.lesson_timeout:
            return frozenset()
        round = lockstep_round(step, self._config.broadcast_every)
        live = [member.id for member in group if member.up and not member.done and not member.unsound]
        return frozenset(id for id in live if self._board.last_round(id) < round)

    def note_wait(self) -> None:
        """Count that a step waits for the network."""
        self.counts = replace(self.counts, waits=self.counts.waits + 1)

    @property
    def lesson_timeout(self) -> float:
        """Seconds that a lesson waits for predictions at most: ``--sync SECONDS``."""
        return self._config.sync or 0.0

    def lesson(self, step: int, group: Sequence[Member]) -> Lesson | None:
        """What `step` learns from; None: from labels alone."""
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
        """How far each neighbour that was heard within ``max_age`` is trusted beside the others, in (0, 1].

        A neighbour that was never learned from is trusted fully: it is missing in what is returned.
        """
        heard = self._board.senders(step)
        return relative({id: score for id, score in self._disagreements.items() if id in heard})

    def is_done(self, step: int) -> bool:
        """Whether a peer that has done `step` steps has done all of them."""
        return 0 < self._steps <= step

    # -- after the last step -----------------------------------------------------------------------------------------

    def begin_lingering(self, now: float, *, seconds_a_step: float) -> None:
        """All steps are done; from now on the peer only teaches, no faster than it trained.

        Args:
            now: the time.
            seconds_a_step: that a step of this peer took.
        """
        self._lingers_since = now
        self._pace = seconds_a_step * self._config.broadcast_every
        limit = DEFAULT_LINGER if self._config.linger is None else self._config.linger
        if math.isinf(limit):
            limit = max(LINGER_AT_MOST * self._steps * seconds_a_step, LINGER_AT_LEAST * self._silence)
        self._leave_at = now + limit

    def linger(self, now: float, group: Sequence[Member]) -> Teach | Rest | None:
        """The next action of a peer whose steps are done; None: it leaves.

        It teaches a round whenever it hears of a newer one, and opens none itself. It leaves when no neighbour is
        unfinished (`Member.unfinished`), or after ``--linger`` seconds. A neighbour counts as unfinished only as long
        as it teaches: a neighbour that only says that it is unfinished holds up nobody without end. Nor does one that
        goes on teaching: ``--linger inf`` ends after `LINGER_AT_MOST` times the training.
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
        """Note which neighbours have taught since the last look. Nothing is kept of those that are forgotten."""
        before = self._taught
        self._taught = {}
        for member in group:
            received, since = before.get(member.id, (0, now))
            if member.bytes_received > 0:
                self._taught[member.id] = (member.bytes_received, now if member.bytes_received > received else since)

    def _counts_until(self, member: Member) -> float:
        """When an unfinished neighbour that teaches no more ceases to count, in seconds."""
        _, since = self._taught.get(member.id, (0, self._lingers_since))
        return since + self._silence

    @property
    def _silence(self) -> float:
        """Seconds for which an unfinished neighbour counts that teaches nothing."""
        return max(LINGER_FOR_SILENT, LINGER_FOR_SLOW * self._pace)

    def _publish(self, round: int, keep: bool) -> Teach:
        self.published = round
        return Teach(round, keep)
