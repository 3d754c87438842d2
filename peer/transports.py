"""The transports by name."""

from peer.grpc_transport import GrpcTransport
from peer.transport import Transport


def make_transport(name: str, max_message_bytes: int) -> Transport:
    """The transport of ``--transport``.

    Args:
        name: "grpc".
        max_message_bytes: longest message that is sent or received.
    """
    return GrpcTransport(max_message_bytes)
