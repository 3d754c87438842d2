"""The result of one check, and running a check so that no error stops the next one."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from edgekd.errors import EdgeKDError
from edgekd.files.writable import in_words
from edgekd.printable import typed_line

ENDS = 2  # number of first warnings that are shown, and of last ones

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: what was checked, in one to three words.
        ok: True: good; False: a fault; None: the check does not apply, or there is only a warning.
        message: what was found and, for a fault or a warning, what to do. One line.
    """

    name: str
    ok: bool | None
    message: str


def examine(name: str, look: Callable[[], str]) -> Check:
    """Run one check. Errors become its result, so that the next check runs, too.

    Args:
        name: what is checked.
        look: a function that returns what it found. If it logs warnings, the result is a warning; if it raises an
            error, the result is a fault.
    """
    check, _ = examine_and_return(name, lambda: (look(), None))
    return check


def examine_and_return(
    name: str, look: Callable[[], tuple[str, Found]], *, said: str | None = None
) -> tuple[Check, Found | None]:
    """Run a check as `examine` does, and return an object that other checks need; None after a fault.

    Args:
        name: what is checked.
        look: a function that returns what it found, and the object.
        said: warnings that begin with this text are left out, since the caller reports them; None: none is left out.
    """
    with collected_warnings() as collected:
        found = None
        try:
            message, found = look()
            ok = True
        except EdgeKDError as error:
            message, ok = str(error), False
        except OSError as error:
            message, ok = in_words(error), False
        except Exception as error:  # any error that a library raises on a broken box
            message, ok = typed_line(error), False
    warnings = [each for each in collected if said is None or not each.startswith(said)]
    return Check(name, None if ok and warnings else ok, with_warnings(message, warnings)), found


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """A block in which edgekd's warnings are collected, each once, and not written to the log."""
    log, found = logging.getLogger("edgekd"), _Collector()
    before = log.propagate, log.handlers[:]
    log.propagate, log.handlers[:] = False, [found]
    try:
        yield found.messages
    finally:
        log.propagate, log.handlers[:] = before


def with_warnings(message: str, warnings: Sequence[str]) -> str:
    """Append warnings to a message; of many, only the first and the last ones, which often sum up the others."""
    left_out = len(warnings) - 2 * ENDS
    if left_out > 0:
        warnings = [*warnings[:ENDS], f"({left_out} more warnings)", *warnings[-ENDS:]]
    return "; ".join([message, *warnings])


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message if it is new."""
        message = record.getMessage()
        if message not in self.messages:
            self.messages.append(message)
