"""Rate limits for callers that ask for a peer's status or for the public file.

They have no clock of their own: the caller of the functions passes `now`.
"""

from collections.abc import Hashable

from edgekd.protocol.allowance import Allowance
from edgekd.protocol.messages import Asked

PATIENCE = 2.0  # seconds that a question may wait for its turn; if it would have to wait longer, it is refused
# Number of questions at once, and seconds for each further question. These are far more than dashboards and newcomers
# ask, and far fewer than would slow down the training.
STATUSES, STATUS_EVERY = 20, 0.2
FILES, FILE_EVERY = 8, 5.0
PART = 2**23  # bytes; each further part of the public file counts as one more question for the file
CALLERS = 256  # number of callers remembered; if there are more, those that have not asked for longest are forgotten


class Rations:
    """The rate limits of all callers; all times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._left: dict[tuple[Hashable, Asked], Allowance] = {}  # the caller that asked last stands last

    def wait(self, caller: Hashable, what: Asked, now: float) -> float | None:
        """Reserve a turn for a question, and return the seconds until that turn.

        Args:
            caller: the id that it has proved to have, or the host from which it connects.
            what: what it asks for.
            now: the time.

        Returns:
            None if there is no turn within `PATIENCE` seconds; then nothing is reserved.
        """
        left = self._of(caller, what)
        wait = left.wait(now)
        if wait > PATIENCE:
            return None
        left.use()
        return wait

    def note_part(self, caller: Hashable) -> None:
        """Count one more `PART` of the public file that was sent to `caller`."""
        self._of(caller, Asked.PUBLIC).use()

    def _of(self, caller: Hashable, what: Asked) -> Allowance:
        left = self._left.pop((caller, what), None) or (
            Allowance(STATUSES, STATUS_EVERY) if what is Asked.STATUS else Allowance(FILES, FILE_EVERY)
        )
        self._left[caller, what] = left
        while len(self._left) > CALLERS:
            del self._left[next(iter(self._left))]
        return left
