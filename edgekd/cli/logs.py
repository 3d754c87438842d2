"""The formats of a command's log and messages on stderr: text, text for systemd's journal, or JSON.

A message is a line outside of the log: why the command ends, or a warning before the log is set up.
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

PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}  # of syslog, by level


class PeerLines(Lines):
    """Text: lines of the form ``LEVEL peer=ID step=N message``; the traceback of a bug follows its line."""

    def __init__(self, id: int | None = None) -> None:
        super().__init__()
        self.id = id  # of the peer; None: not known yet
        self.step: Callable[[], int] | None = None  # returns the learner's step; None: there is no learner yet

    def line(self, level: str, message: str) -> str:
        """Format a log record as one line; line breaks in `message` are escaped."""
        id = "-" if self.id is None else self.id
        step = "-" if self.step is None else self.step()
        return f"{level} peer={id} step={step} {printable(message)}"

    def message(self, level: str, message: str, error: BaseException | None = None) -> str:
        """Format a message, followed by the traceback of `error` if there is one."""
        return "\n".join([printable(message), *map(printable, self._trace(error))])

    def _trace(self, error: BaseException | None) -> list[str]:
        return [] if error is None else self.formatException((type(error), error, error.__traceback__)).splitlines()


class JournalLines(PeerLines):
    """Text for systemd's journal: each line begins with its priority, ``<N>``, which the journal removes."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a log record, with the lines of a traceback."""
        return super().format(record).replace("\n", f"\n{_priority(record.levelname)}")

    def line(self, level: str, message: str) -> str:
        """Format a log record as one line; line breaks in `message` are escaped."""
        return _priority(level) + super().line(level, message)

    def message(self, level: str, message: str, error: BaseException | None = None) -> str:
        """Format a message, followed by the traceback of `error` if there is one."""
        return (_priority(level) + super().message(level, message, error)).replace("\n", f"\n{_priority(level)}")


class JsonLines(PeerLines):
    """JSON: an object on each line; the traceback of a bug is one of its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a log record as one line."""
        trace = self.formatException(record.exc_info) if record.exc_info else None
        return self._object(record.created, record.levelname, record.name, record.getMessage(), trace)

    def line(self, level: str, message: str) -> str:
        """Format a line of the log as one JSON object."""
        return self._object(time.time(), level, "edgekd", message, None)

    def message(self, level: str, message: str, error: BaseException | None = None) -> str:
        """Format a message, with the traceback of `error`, as one JSON object."""
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
    """Set the format of all later messages and log lines, one of `FORMATS`; None: "journal" or "text", as fits."""
    global _lines
    _lines = FORMATS[form or ("journal" if _is_journal(2) else "text")]()


def format_among(arguments: Sequence[str]) -> str | None:
    """The log format in arguments that are not parsed yet, so that errors of parsing have it, too; None: none."""
    asked = None
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=True):
        name, _, joined = flag.partition("=")
        if name == FORMAT_FLAG:
            asked = joined or value
    return asked if asked in FORMATS else None


def message_line(level: str, message: str) -> str:
    """Format a message as it is written to stderr. A signal handler may call this."""
    return _lines.message(level, message)


def write_message(level: str, message: str, error: BaseException | None = None) -> None:
    """Write a message to stderr, without buffering.

    Args:
        level: the name of a level of the logging module.
        message: one line.
        error: a bug whose traceback is written, too; None: none.
    """
    print(_lines.message(level, message, error), file=sys.stderr, flush=True)


def _priority(level: str) -> str:
    return f"<{PRIORITIES.get(level, 6)}>"


def _is_journal(number: int) -> bool:
    """Whether this file descriptor is systemd's journal: systemd names the journal's file in $JOURNAL_STREAM."""
    try:
        status = os.fstat(number)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _Stderr:
    """A stream that writes to the current `sys.stderr`, which a live table replaces for a while."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def log_to_stderr(id: int) -> PeerLines:
    """Write the log of this process to stderr, as that of peer `id`: of edgekd from INFO on, of others from WARNING.

    Returns:
        The formatter, whose `step` the caller may set.
    """
    _lines.id = id
    handler = logging.StreamHandler(_Stderr())
    handler.setFormatter(_lines)
    logging.getLogger().addHandler(handler)
    logging.getLogger("edgekd").setLevel(logging.INFO)
    logging.captureWarnings(True)
    return _lines
