"""Mutual TLS for gRPC: the credentials of both sides from `KeyFiles`, and the identity of the other side.

gRPC does the handshake and verifies both certificates before a call reaches our code.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import grpc

from edgekd.keys.certificates import key_name, named_holder
from edgekd.protocol.holders import Holder
from peer.transports.grpc.keys import KeyFiles, TlsKeys

_NAMES = "x509_subject_alternative_name"


def listening(files: KeyFiles) -> Any:
    """The credentials of a listener. They are updated from the files at every new connection."""
    keys = served = files.current()

    def fetch() -> Any:  # called on a thread of gRPC; None: unchanged
        nonlocal served
        if (keys := files.current()) is served:
            return None
        served = keys
        return _configuration(keys)

    return grpc.dynamic_ssl_server_credentials(_configuration(keys), fetch, require_client_authentication=True)


def dialling(keys: TlsKeys) -> Any:
    """The credentials of a connection to dial."""
    return grpc.ssl_channel_credentials(keys.ca, keys.key, keys.certificate)


def only(id: int) -> tuple[str, str]:
    """The channel option that accepts only peer `id` at the other end."""
    return "grpc.ssl_target_name_override", key_name(id)


def proven(auth_context: Mapping[str, Iterable[bytes]]) -> Holder | None:
    """The holder of the certificate that the dialling side has used; None: it names no peer and no observer."""
    return named_holder([name.decode(errors="replace") for name in auth_context.get(_NAMES, ())])


def _configuration(keys: TlsKeys) -> Any:
    return grpc.ssl_server_certificate_configuration([(keys.key, keys.certificate)], keys.ca)
