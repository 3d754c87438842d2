"""How often one caller may ask how a peer is, or for the public file. Pure: `now` is an argument."""

from collections.abc import Hashable

from edgekd.protocol.allowance import Allowance
from edgekd.protocol.messages import Asked

PATIENCE = 2.0  # seconds that a question waits for its turn; one that would have to wait longer is refused
# Questions at once, and seconds that each further one takes: far more than dashboards and newcomers ask, far less than
# what makes the training slower.
STATUSES, STATUS_EVERY = 20, 0.2
FILES, FILE_EVERY = 8, 5.0
PART = 2**23  # bytes of the public file: each further one counts as one more file
CALLERS = 256  # that are remembered; of more, those that have not asked for longest are forgotten


class Rations:
    """The turns of all callers; all times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._left: dict[tuple[Hashable, Asked], Allowance] = {}  # who has asked last is last

    def wait(self, caller: Hashable, what: Asked, now: float) -> float | None:
        """Seconds until this question's turn, which is taken; None: it has no turn within `PATIENCE`.

        Args:
            caller: the id that it has proven to have, or the host that it speaks from.
            what: it asks for.
            now: the time.
        """
        left = self._of(caller, what)
        wait = left.wait(now)
        if wait > PATIENCE:
            return None
        left.use()
        return wait

    def note_part(self, caller: Hashable) -> None:
        """Note that a further `PART` of the public file was sent."""
        self._of(caller, Asked.PUBLIC).use()

    def _of(self, caller: Hashable, what: Asked) -> Allowance:
        left = self._left.pop((caller, what), None) or (
            Allowance(STATUSES, STATUS_EVERY) if what is Asked.STATUS else Allowance(FILES, FILE_EVERY)
        )
        self._left[caller, what] = left
        while len(self._left) > CALLERS:
            del self._left[next(iter(self._left))]
        return left
