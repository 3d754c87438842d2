"""Log lines that come again and again: news, not repetitions, and never so many that they fill a disk."""

import logging
from dataclasses import dataclass, field

from edgekd.protocol.allowance import Allowance

log = logging.getLogger("edgekd")

BURST, EVERY = 10, 6.0  # lines about one subject at once; seconds that each further one takes
BURST_ALL, EVERY_ALL = 100, 1.0  # the same about all subjects together
AGAIN = 600.0  # seconds after which a message is said again that has only been repeated
MAX_SUBJECTS = 256  # that are remembered; strangers are without number


@dataclass(slots=True)
class _Subject:
    allowance: Allowance = field(default_factory=lambda: Allowance(BURST, EVERY))
    said: str = ""
    said_at: float = 0.0
    held: tuple[int, str] | None = None  # level and message of the newest that is still to be said
    unsaid: int = 0  # messages since the last line


class News:
    """Says the newest about each subject, and how many messages were left out since its last line.

    A line is left out where it repeats the last one, or where its subject, or all of them together, have had a burst of
    lines and then one in every so many seconds. What was held back is said in its turn, by the next `say` about it or
    by `catch_up`. All times are seconds of one monotonic clock.
    """

    def __init__(self) -> None:
        self._subjects: dict[str, _Subject] = {}  # the last to be spoken of is last
        self._all = Allowance(BURST_ALL, EVERY_ALL)

    def say(self, subject: str, level: int, message: str, now: float) -> None:
        """Log `message` at `level`; `subject` holds nothing that changes from try to try, such as a port."""
        about = self._subjects.pop(subject, None) or _Subject()
        self._subjects[subject] = about
        about.unsaid += 1
        if about.held is not None or message != about.said or now - about.said_at >= AGAIN:
            about.held = level, message
            self._say_held(about, now)
        while len(self._subjects) > MAX_SUBJECTS:
            self._subjects.pop(next(iter(self._subjects)))

    def catch_up(self, now: float) -> None:
        """Say what was held back and may be said by now, the newest first; to be called every now and then."""
        for about in reversed(self._subjects.values()):
            if about.held is not None:
                self._say_held(about, now)

    def _say_held(self, about: _Subject, now: float) -> None:
        if about.held is None or not (about.allowance.has(now) and self._all.has(now)):
            return
        about.allowance.use()
        self._all.use()
        level, message = about.held
        others = about.unsaid - 1
        log.log(level, "%s", f"{message} [{others} left out]" if others else message)
        about.said, about.said_at, about.held, about.unsaid = message, now, None, 0
