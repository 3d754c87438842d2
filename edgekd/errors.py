"""Everything edgekd raises on purpose.

EdgeKDError
├── ConfigError           the user's file, flag or data is wrong: fix it and start again
├── OutOfMemoryError      a step does not fit into the device's memory: make it smaller
├── DivergedError         weights or predictions are no numbers any more: learn more slowly
├── LocalProtocolError    our own code broke the protocol: a bug, let it crash
└── RemoteProtocolError   a peer broke the protocol: refuse, count, keep running
"""


class EdgeKDError(Exception):
    """Base of every error that edgekd raises on purpose; the CLI prints it as one line."""

    exit_code = 1  # of a command that it ends


class ConfigError(EdgeKDError):
    """The user's file, flag or data is wrong; the message names the rule, the value and what is allowed."""


class OutOfMemoryError(EdgeKDError):
    """A step does not fit into the device's memory; the message says what to make smaller and what is kept."""

    exit_code = 4  # its own: starting again with the same settings helps only if others took the memory


class DivergedError(EdgeKDError):
    """Weights or predictions are NaN or infinite; nothing can be learned from there, nor taught."""

    exit_code = 5  # its own: started again, it goes on from a checkpoint of before


class LocalProtocolError(EdgeKDError):
    """Our own code broke the protocol: a bug."""


class RemoteProtocolError(EdgeKDError):
    """A peer broke the protocol. Refuse what it sent, count it under `reason`, keep running."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason  # a short slug to count by, e.g. "shape", "nan", "sum"
