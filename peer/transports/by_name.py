"""Making a transport by its name."""

from pathlib import Path

from peer.transports.base import Transport


def make_transport(name: str, max_message_bytes: int, keys: Path | None = None) -> Transport:
    """Make the transport that ``--transport`` names.

    Args:
        name: "grpc" or "zmq".
        max_message_bytes: the length of the longest message to send or receive.
        keys: this peer's folder of keys; None: no encryption and no authentication.

    Raises:
        ConfigError: a key is missing, unreadable or expired, or the keys do not match.
    """
    if name == "zmq":
        from peer.transports.zmq.transport import ZmqTransport

        return ZmqTransport(max_message_bytes, keys)
    from peer.transports.grpc.transport import GrpcTransport

    return GrpcTransport(max_message_bytes, keys)
