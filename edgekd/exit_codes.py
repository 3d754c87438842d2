"""The exit codes of ``edgekd``. A service manager can see from them whether a restart may help."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The reason why a command has ended; 70 and 75 are EX_SOFTWARE and EX_TEMPFAIL of sysexits.h.

    If a command hangs and a second or third Ctrl-C or signal ends it at once, its code is 128 + the signal's number.
    """

    DONE = 0
    FAILED = 1  # impossible: a wrong value, file or key; for `doctor`, `status` and `predict`: the answer is no
    USAGE = 2  # set by click: an unknown flag or command
    OUT_OF_MEMORY = 4
    DIVERGED = 5
    BUG = 70
    TRANSIENT = 75  # something is missing at the moment: a port in use, a full disk, a name server that does not answer
    STOPPED = 130  # the code that a shell reports after Ctrl-C


NO_RESTART = (ExitCode.FAILED, ExitCode.USAGE, ExitCode.DIVERGED)  # the same settings would end in the same way

IN_SHORT = {
    ExitCode.DONE: "done, or stopped by Ctrl-C or SIGTERM",
    ExitCode.FAILED: "a mistake in a value, a file or the keys",
    ExitCode.USAGE: "no such flag",
    ExitCode.OUT_OF_MEMORY: "out of memory",
    ExitCode.DIVERGED: "training has diverged",
    ExitCode.BUG: "a bug",
    ExitCode.TRANSIENT: "a fault that may pass: port in use, full disk, download failed",
}
"""Of ``edgekd peer``, for its help."""
