"""What a command writes to stderr, as text, for systemd's journal, or as JSON: a peer's log, and messages.

A message is what a command says apart from a log: why it ends, or a warning before there is a log.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any

from edgekd.printable import Lines, printable

PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}  # by level; those of syslog


class PeerLines(Lines):
    """Text: ``LEVEL peer=ID step=N message``; after the line of a bug, its traceback."""

    def __init__(self, id: int | None = None) -> None:
        super().__init__()
        self.id = id  # the peer's; None: it is not known yet
        self.step: Callable[[], int] | None = None  # the learner's; None: there is no learner yet

    def line(self, level: str, message: str) -> str:
        """One line, whatever is in `message`."""
        id = "-" if self.id is None else self.id
        step = "-" if self.step is None else self.step()
        return f"{level} peer={id} step={step} {printable(message)}"

    def message(self, level: str, message: str, error: BaseException | None = None) -> str:
        """A message; after its line, the traceback of `error`."""
        return "\n".join([printable(message), *map(printable, self._trace(error))])

    def _trace(self, error: BaseException | None) -> list[str]:
        return [] if error is None else self.formatException((type(error), error, error.__traceback__)).splitlines()


class JournalLines(PeerLines):
    """The same lines for systemd's journal: each begins with its priority, ``<N>``, which the journal takes away."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback's lines."""
        return super().format(record).replace("\n", f"\n{_priority(record.levelname)}")

    def line(self, level: str, message: str) -> str:
        """One line, whatever is in `message`."""
        return _priority(level) + super().line(level, message)

    def message(self, level: str, message: str, error: BaseException | None = None) -> str:
        """As for `PeerLines`."""
        return (_priority(level) + super().message(level, message, error)).replace("\n", f"\n{_priority(level)}")


class JsonLines(PeerLines):
    """JSON: an object a line, with the traceback of a bug in it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        trace = self.formatException(record.exc_info) if record.exc_info else None
        return self._object(record.created, record.levelname, record.name, record.getMessage(), trace)

    def line(self, level: str, message: str) -> str:
        """One line, whatever is in `message`."""
        return self._object(time.time(), level, "edgekd", message, None)

    def message(self, level: str, message: str, error: BaseException | None = None) -> str:
        """One line, whatever is in `message`."""
        return self._object(time.time(), level, "edgekd", message, "\n".join(self._trace(error)) or None)

    def _object(self, at: float, level: str, logger: str, message: str, trace: str | None) -> str:
        event: dict[str, Any] = {
            "time": datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds"),
            "level": level,
            "logger": logger,
            "peer": self.id,
            "step": None if self.step is None else self.step(),
            "message": message.encode(errors="backslashreplace").decode(),  # a file name need not be UTF-8
        }
        return json.dumps(event if trace is None else {**event, "traceback": trace})


FORMAT_FLAG = "--log-format"
FORMATS = {"text": PeerLines, "journal": JournalLines, "json": JsonLines}

_lines = PeerLines()  # of this process


def set_format(form: str | None) -> None:
    """Give all further messages and log lines this format, one of `FORMATS`; None: the one that suits stderr."""
    global _lines
    _lines = FORMATS[form or ("journal" if _is_journal(2) else "text")]()


def format_among(arguments: Sequence[str]) -> str | None:
    """The format that unparsed arguments ask for, so that an error about an unknown flag has this format, too."""
    asked = None
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=True):
        name, _, joined = flag.partition("=")
        if name == FORMAT_FLAG:
            asked = joined or value
    return asked if asked in FORMATS else None


def message_line(level: str, message: str) -> str:
    """A message as it is written to stderr; a signal handler may call this."""
    return _lines.message(level, message)


def write_message(level: str, message: str, error: BaseException | None = None) -> None:
    """Write a message to stderr, at once.

    Args:
        level: by name.
        message: the line.
        error: a bug, whose traceback is wanted.
    """
    print(_lines.message(level, message, error), file=sys.stderr, flush=True)


def _priority(level: str) -> str:
    return f"<{PRIORITIES.get(level, 6)}>"


def _is_journal(number: int) -> bool:
    """Whether this file descriptor leads to systemd's journal: $JOURNAL_STREAM names what did so at the start."""
    try:
        status = os.fstat(number)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _Stderr:
    """Whatever sys.stderr is when something is written: a live table takes its place for a while."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def log_to_stderr(id: int) -> PeerLines:
    """Have all that this process logs said on stderr, as peer `id`; of other libraries, what is a warning or worse."""
    _lines.id = id
    handler = logging.StreamHandler(_Stderr())
    handler.setFormatter(_lines)
    logging.getLogger().addHandler(handler)
    logging.getLogger("edgekd").setLevel(logging.INFO)
    logging.captureWarnings(True)
    return _lines
