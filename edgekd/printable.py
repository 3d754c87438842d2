"""Text from outside made harmless: no line breaks, no escape codes of terminals, nothing that turns text around."""

import logging

LONGEST_WHY = 200  # characters of what is wrong with a file: it may come from a stranger, and so do the words


def printable(text: str, longest: int | None = None) -> str:
    r"""The text on one line, with ``\x1b`` and the like for each character that cannot be printed.

    Args:
        text: anything, such as the name of a file or the words of a stranger.
        longest: of the result, in characters; what is cut off is shown as three dots. None: nothing is cut off.
    """
    text = text if longest is None else text[: longest + 1]
    shown = text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return shown if longest is None or len(shown) <= longest else f"{shown[: longest - 3]}..."


def first_line(error: Exception) -> str:
    """The first line of what an error says; of one that says nothing, its type."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


class Lines(logging.Formatter):
    """Formats log records: a line each, whatever is in it; a bug's traceback follows."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback's lines."""
        lines = [self.line(record.levelname, record.getMessage())]
        if record.exc_info:
            lines += map(printable, self.formatException(record.exc_info).splitlines())
        return "\n".join(lines)

    def line(self, level: str, message: str) -> str:
        """One line, whatever is in `message`."""
        return printable(message)


def log_plainly() -> None:
    """Have warnings said on stderr as `Lines` where a process has set up no log of its own."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(Lines())
