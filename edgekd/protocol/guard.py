"""Which neighbour sends too much, or too much that has to be refused: it is cut off for a while. Pure.

A peer is known by its id alone: without keys (``--certs``) a stranger may take the name of one that is not connected,
and have that name cut off.
"""

from dataclasses import dataclass, field

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.allowance import Allowance

FRAMES, FRAME_EVERY = 2000, 0.001  # at once; seconds a further one takes: several times what the fastest learner sends
REFUSALS, REFUSAL_EVERY = 50, 5.0
CUT_OFF = 60.0  # seconds
HARMLESS = frozenset({"unknown"})  # refusal reasons that do not count: a newer version may send unknown frames


@dataclass(slots=True)
class _Record:
    frames: Allowance = field(default_factory=lambda: Allowance(FRAMES, FRAME_EVERY))
    refusals: Allowance = field(default_factory=lambda: Allowance(REFUSALS, REFUSAL_EVERY))
    cut_off_until: float = 0.0


class Guard:
    """Every neighbour's record; all times are seconds of one monotonic clock.

    Args:
        limit: how many are kept; of more, those that were quiet longest are forgotten.
    """

    def __init__(self, limit: int = 256) -> None:
        self._records: dict[int, _Record] = {}  # by id; who was active last is last
        self._limit = limit

    def note_frame(self, id: int, now: float) -> None:
        """Count one frame of peer `id`.

        Raises:
            RemoteProtocolError: the peer has sent more frames than the rate limit allows; the reason is "flood".
        """
        frames = self._of(id).frames
        if not frames.has(now):
            raise RemoteProtocolError("flood", f"more than {FRAMES} frames at once and {1 / FRAME_EVERY:.0f} a second")
        frames.use()

    def note_refusal(self, id: int, reason: str, now: float) -> bool:
        """Note that a frame of peer `id` was refused; whether the peer is cut off by that."""
        record = self._of(id)
        if reason in HARMLESS or record.cut_off_until > now:
            return False
        if record.refusals.has(now):
            record.refusals.use()
            return False
        self._records[id] = _Record(cut_off_until=now + CUT_OFF)
        return True

    def cut_off_for(self, id: int, now: float) -> float:
        """Seconds for which peer `id` is still refused; 0: it is welcome."""
        return max(0.0, self._records[id].cut_off_until - now) if id in self._records else 0.0

    def _of(self, id: int) -> _Record:
        record = self._records.pop(id, None) or _Record()
        self._records[id] = record
        while len(self._records) > self._limit:
            self._records.pop(next(iter(self._records)))
        return record
