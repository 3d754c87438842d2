"""Everything edgekd raises on purpose.

EdgeKDError
├── ConfigError           the user's file, flag or data is wrong: fix it and start again
├── LocalProtocolError    our own code broke the protocol: a bug, let it crash
└── RemoteProtocolError   a peer broke the protocol: refuse, count, keep running
"""


class EdgeKDError(Exception):
    """Base of every error that edgekd raises on purpose; the CLI prints it as one line."""


class ConfigError(EdgeKDError):
    """The user's file, flag or data is wrong; the message names the rule, the value and what is allowed."""


class LocalProtocolError(EdgeKDError):
    """Our own code broke the protocol: a bug."""


class RemoteProtocolError(EdgeKDError):
    """A peer broke the protocol. Refuse what it sent, count it under `reason`, keep running."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason  # a short slug to count by, e.g. "shape", "nan", "sum"
