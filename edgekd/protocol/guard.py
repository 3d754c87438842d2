"""The guard: it cuts off a neighbour that sends too many frames, or too many that must be refused.

A peer that is cut off is refused for `CUT_OFF` seconds. The guard knows a peer only by its id. So without keys
(``--certs``), a stranger may use the id of a peer that is not connected, and get this id cut off. The guard is pure:
the caller passes `now`.
"""

from dataclasses import dataclass, field

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.allowance import Allowance

# Frames at once, and seconds for each further frame: several times what the fastest learner sends.
FRAMES, FRAME_EVERY = 2000, 0.001
REFUSALS, REFUSAL_EVERY = 50, 5.0  # the same for frames that were refused
CUT_OFF = 60.0  # seconds
HARMLESS = frozenset({"unknown"})  # refusal reasons that are not counted: a newer version may send unknown frames


@dataclass(slots=True)
class _Record:
    frames: Allowance = field(default_factory=lambda: Allowance(FRAMES, FRAME_EVERY))
    refusals: Allowance = field(default_factory=lambda: Allowance(REFUSALS, REFUSAL_EVERY))
    cut_off_until: float = 0.0


class Guard:
    """The frames and refusals of each neighbour; all times are seconds of one monotonic clock.

    Args:
        limit: how many neighbours are kept. If there are more, those that have sent nothing for longest are forgotten.
    """

    def __init__(self, limit: int = 256) -> None:
        self._records: dict[int, _Record] = {}  # by id; the neighbour that was active last stands last
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
        """Note that a frame of peer `id` was refused for `reason`; returns True if this cuts the peer off."""
        record = self._of(id)
        if reason in HARMLESS or record.cut_off_until > now:
            return False
        if record.refusals.has(now):
            record.refusals.use()
            return False
        self._records[id] = _Record(cut_off_until=now + CUT_OFF)
        return True

    def cut_off_for(self, id: int, now: float) -> float:
        """The seconds for which peer `id` is still cut off; 0 if it is not."""
        return max(0.0, self._records[id].cut_off_until - now) if id in self._records else 0.0

    def _of(self, id: int) -> _Record:
        record = self._records.pop(id, None) or _Record()
        self._records[id] = record
        while len(self._records) > self._limit:
            self._records.pop(next(iter(self._records)))
        return record
