"""What a peer says on stderr: one line an event, ``LEVEL peer=ID step=N message``."""

import logging
import sys
from collections.abc import Callable

from edgekd.printable import Lines, printable


class PeerLines(Lines):
    """Formats log records of one peer."""

    def __init__(self, id: int) -> None:
        super().__init__()
        self._id = id
        self.step: Callable[[], int] | None = None  # the learner's; None: there is no learner yet

    def line(self, level: str, message: str) -> str:
        """One line, whatever is in `message`."""
        step = "-" if self.step is None else self.step()
        return f"{level} peer={self._id} step={step} {printable(message)}"


class _Stderr:
    """Whatever sys.stderr is when something is written: a live table takes its place for a while."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def log_to_stderr(id: int) -> PeerLines:
    """Have all that this process logs said on stderr, as peer `id`; of other libraries, what is a warning or worse."""
    lines = PeerLines(id)
    handler = logging.StreamHandler(_Stderr())
    handler.setFormatter(lines)
    logging.getLogger().addHandler(handler)
    logging.getLogger("edgekd").setLevel(logging.INFO)
    return lines
