"""The transports by name."""

from pathlib import Path

from peer.grpc_transport import GrpcTransport
from peer.transport import Transport


def make_transport(name: str, max_message_bytes: int, keys: Path | None = None) -> Transport:
    """The transport of ``--transport``.

    Args:
        name: "grpc".
        max_message_bytes: longest message that is sent or received.
        keys: this peer's folder of keys; None: no encryption, and everybody is believed.

    Raises:
        ConfigError: a key is missing, unreadable or expired, or they do not belong together.
    """
    return GrpcTransport(max_message_bytes, keys)
