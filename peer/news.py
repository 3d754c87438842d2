"""Log lines about neighbours: news, not repetitions."""

import logging

log = logging.getLogger("edgekd")

MAX_SUBJECTS = 256  # whose last message is remembered; strangers are without number


class News:
    """Says a message about a subject unless it was the last one said about it."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def say(self, subject: str, level: int, message: str) -> None:
        """Log `message` at `level`; `subject` holds nothing that changes from try to try, such as a port."""
        if self._last.pop(subject, None) != message:
            log.log(level, message)
        self._last[subject] = message
        while len(self._last) > MAX_SUBJECTS:
            self._last.pop(next(iter(self._last)))
