"""Safe printing of text from outside: no line breaks, no terminal escape codes, no change of writing direction."""

import logging

LONGEST_WHY = 200  # characters of an error about a file: both may come from a stranger


def printable(text: str, longest: int | None = None) -> str:
    r"""The text on one line; characters that cannot be printed are replaced by escapes such as ``\x1b``.

    Args:
        text: any text, such as the name of a file or a message from a stranger.
        longest: largest number of characters in the result; a longer text is cut and ends with three dots. None: no
            limit.
    """
    text = text if longest is None else text[: longest + 1]
    shown = text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return shown if longest is None or len(shown) <= longest else f"{shown[: longest - 3]}..."


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type if the message is empty."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def typed_line(error: BaseException) -> str:
    """The type and the first line of an error, for one that somebody else's code has raised."""
    return f"{type(error).__name__}: {first_line(error)}"


class Lines(logging.Formatter):
    """A log formatter that writes each record on one line, whatever it contains; only tracebacks add lines."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of the record, and the lines of its traceback if it has one."""
        lines = [self.line(record.levelname, record.getMessage())]
        if record.exc_info:
            lines += map(printable, self.formatException(record.exc_info).splitlines())
        return "\n".join(lines)

    def line(self, level: str, message: str) -> str:
        """The line for one message, with characters that cannot be printed replaced."""
        return printable(message)


def log_plainly() -> None:
    """Use `Lines` for warnings on stderr in a process that has set up no logging of its own."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(Lines())
