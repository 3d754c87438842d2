"""All errors that edgekd raises on purpose.

EdgeKDError
├── ConfigError           the user's file, flag or data is wrong: fix it and start again
│   └── TransientError    something is missing at the moment: choose another one, or wait and try again
├── OutOfMemoryError      a step does not fit into the device's memory: make it smaller
├── DivergedError         weights or predictions are NaN or infinite: learn more slowly
├── LocalProtocolError    our own code broke the protocol: a bug, let it crash
└── RemoteProtocolError   a peer broke the protocol: refuse, count, keep running
"""

from edgekd.exit_codes import ExitCode


class EdgeKDError(Exception):
    """Base of every error that edgekd raises on purpose; the CLI prints it as one line."""

    exit_code = ExitCode.FAILED  # of a command that this error ends


class ConfigError(EdgeKDError):
    """The user's file, flag or data is wrong; the message names the rule, the value and what is allowed."""


class TransientError(ConfigError):
    """Something fails that may pass, for example a port in use or a full disk: the same command may work later."""

    exit_code = ExitCode.TRANSIENT


class OutOfMemoryError(EdgeKDError):
    """A step does not fit into the device's memory; the message says what to make smaller and what is kept."""

    exit_code = ExitCode.OUT_OF_MEMORY  # starting again helps only if other programs used the memory


class DivergedError(EdgeKDError):
    """Weights or predictions are NaN or infinite, so nothing can be learned or taught any more."""

    exit_code = ExitCode.DIVERGED  # earlier checkpoints are kept; the cause is the settings


class LocalProtocolError(EdgeKDError):
    """Our own code broke the protocol: a bug."""

    exit_code = ExitCode.BUG


class RemoteProtocolError(EdgeKDError):
    """A peer broke the protocol: refuse what it sent, count it under `reason`, and keep running."""

    exit_code = ExitCode.TRANSIENT

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason  # a short word to count by, e.g. "shape", "nan", "sum"
