"""Everything edgekd raises on purpose.

EdgeKDError
├── ConfigError           the user's file, flag or data is wrong: fix it and start again
│   └── TransientError    what is needed is not there now: another choice helps at once, and waiting may, too
├── OutOfMemoryError      a step does not fit into the device's memory: make it smaller
├── DivergedError         weights or predictions are no numbers any more: learn more slowly
├── LocalProtocolError    our own code broke the protocol: a bug, let it crash
└── RemoteProtocolError   a peer broke the protocol: refuse, count, keep running
"""

from edgekd.exit_codes import ExitCode


class EdgeKDError(Exception):
    """Base of every error that edgekd raises on purpose; the CLI prints it as one line."""

    exit_code = ExitCode.FAILED  # of a command that it ends


class ConfigError(EdgeKDError):
    """The user's file, flag or data is wrong; the message names the rule, the value and what is allowed."""


class TransientError(ConfigError):
    """A port is in use, a disk full, a server does not answer: the same command may do later, without a change."""

    exit_code = ExitCode.TRANSIENT


class OutOfMemoryError(EdgeKDError):
    """A step does not fit into the device's memory; the message says what to make smaller and what is kept."""

    exit_code = ExitCode.OUT_OF_MEMORY  # starting again helps only if others took the memory


class DivergedError(EdgeKDError):
    """Weights or predictions are NaN or infinite; nothing can be learned from there, nor taught."""

    exit_code = ExitCode.DIVERGED  # the checkpoints of before are kept; the settings are to blame


class LocalProtocolError(EdgeKDError):
    """Our own code broke the protocol: a bug."""

    exit_code = ExitCode.BUG


class RemoteProtocolError(EdgeKDError):
    """A peer broke the protocol. Refuse what it sent, count it under `reason`, keep running."""

    exit_code = ExitCode.TRANSIENT

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason  # a short slug to count by, e.g. "shape", "nan", "sum"
