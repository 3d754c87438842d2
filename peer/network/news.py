"""A rate-limited log: repeated messages are left out, and strangers cannot make it fill the disk."""

import logging
from dataclasses import dataclass, field

from edgekd.protocol.allowance import Allowance

log = logging.getLogger("edgekd")

BURST, EVERY = 10, 6.0  # lines about one subject at once; then seconds between two lines
BURST_ALL, EVERY_ALL = 100, 1.0  # the same for all subjects together
AGAIN = 600.0  # seconds after which an unchanged message is logged again
MAX_SUBJECTS = 256  # remembered at most, since strangers can cause any number of them


@dataclass(slots=True)
class _Subject:
    allowance: Allowance = field(default_factory=lambda: Allowance(BURST, EVERY))
    said: str = ""
    said_at: float = 0.0
    held: tuple[int, str] | None = None  # level and text of the newest message that is not logged yet
    unsaid: int = 0  # messages since the last line in the log


class News:
    """Logs the newest message about each subject, and how many messages were left out since the line before.

    A message is left out if it repeats the last line about its subject, or if the rate limit of the subject or of the
    whole log is used up. In the second case the newest message is kept, and logged later: by the next `say` about the
    same subject, or by `catch_up`. All times are seconds of one monotonic clock.
    """

    def __init__(self) -> None:
        self._subjects: dict[str, _Subject] = {}  # the most recently used one is last
        self._all = Allowance(BURST_ALL, EVERY_ALL)

    def say(self, subject: str, level: int, message: str, now: float) -> None:
        """Log `message` at a `level` of the logging module, unless it has to be left out.

        Args:
            subject: what the message is about. It must not contain what differs between tries, such as a port.
            level: of the logging module.
            message: one line.
            now: seconds.
        """
        about = self._subjects.pop(subject, None) or _Subject()
        self._subjects[subject] = about
        about.unsaid += 1
        if about.held is not None or message != about.said or now - about.said_at >= AGAIN:
            about.held = level, message
            self._say_held(about, now)
        while len(self._subjects) > MAX_SUBJECTS:
            self._subjects.pop(next(iter(self._subjects)))

    def catch_up(self, now: float) -> None:
        """Log the messages that were held back and are allowed by now, the newest first. Call this regularly."""
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
