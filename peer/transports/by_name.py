"""The transports by name."""

from pathlib import Path

from peer.transports.base import Transport


def make_transport(name: str, max_message_bytes: int, keys: Path | None = None) -> Transport:
    """The transport of ``--transport``.

    Args:
        name: "grpc" or "zmq".
        max_message_bytes: longest message that is sent or received.
        keys: this peer's folder of keys; None: no encryption, and everybody is believed.

    Raises:
        ConfigError: a key is missing, unreadable or expired, or they do not belong together.
    """
    if name == "zmq":
        from peer.transports.zmq.transport import ZmqTransport

        return ZmqTransport(max_message_bytes, keys)
    from peer.transports.grpc.transport import GrpcTransport

    return GrpcTransport(max_message_bytes, keys)
