"""One thing that was looked at, and what was found."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from edgekd.errors import EdgeKDError
from edgekd.files.writable import in_words
from edgekd.printable import first_line

ENDS = 2  # so many of the first warnings are shown, and of the last

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Check:
    """What was found of one thing.

    Attributes:
        name: of the thing, one to three words.
        ok: True: sound; False: a fault; None: it does not apply, or there is only a warning.
        message: what was found, and for a fault or a warning what to do. One line.
    """

    name: str
    ok: bool | None
    message: str


def examine(name: str, look: Callable[[], str]) -> Check:
    """Look at one thing. No error leaves this function, so that the next thing is looked at, too.

    Args:
        name: of the thing.
        look: returns what it found. The warnings that it logs make the check a warning, its error a fault.
    """
    check, _ = examine_and_return(name, lambda: (look(), None))
    return check


def examine_and_return(
    name: str, look: Callable[[], tuple[str, Found]], *, said: str | None = None
) -> tuple[Check, Found | None]:
    """`examine` for a thing that other checks need: `look` also returns it. After a fault it is None.

    Args:
        name: of the thing.
        look: returns what it found, and the thing.
        said: warnings that begin so are left out, since the caller says so itself; None: none is.
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
        except Exception as error:  # whatever a library makes of a broken box
            message, ok = f"{type(error).__name__}: {first_line(error)}", False
    warnings = [each for each in collected if said is None or not each.startswith(said)]
    return Check(name, None if ok and warnings else ok, with_warnings(message, warnings)), found


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect the warnings that edgekd logs in this block, each once; nothing is written anywhere else."""
    log, found = logging.getLogger("edgekd"), _Collector()
    before = log.propagate, log.handlers[:]
    log.propagate, log.handlers[:] = False, [found]
    try:
        yield found.messages
    finally:
        log.propagate, log.handlers[:] = before


def with_warnings(message: str, warnings: Sequence[str]) -> str:
    """The message, and after it the warnings; of very many the first ones and the last ones, which often sum up."""
    left_out = len(warnings) - 2 * ENDS
    if left_out > 0:
        warnings = [*warnings[:ENDS], f"({left_out} more warnings)", *warnings[-ENDS:]]
    return "; ".join([message, *warnings])


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note the message."""
        message = record.getMessage()
        if message not in self.messages:
            self.messages.append(message)
