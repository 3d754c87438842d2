"""The exit codes of ``edgekd``: by them a service manager knows what a restart cannot mend."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Why a command has ended; 70 and 75 are EX_SOFTWARE and EX_TEMPFAIL of sysexits.h.

    A command that a second or third request has ended at once, since it hung, has 128 + the number of the signal.
    """

    DONE = 0
    FAILED = 1  # it cannot be done: a wrong value, file or key; `doctor`, `status`, `predict`: the answer is no
    USAGE = 2  # click's own: no such flag or command
    OUT_OF_MEMORY = 4
    DIVERGED = 5
    BUG = 70
    TRANSIENT = 75  # what it needs is not there now: a port in use, a full disk, a name server that does not answer
    STOPPED = 130  # as a shell has it after Ctrl-C


NO_RESTART = (ExitCode.FAILED, ExitCode.USAGE, ExitCode.DIVERGED)  # the same settings would end the same again

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
