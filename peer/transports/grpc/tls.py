"""Mutual TLS as gRPC wants it: credentials of both sides, made anew from a `KeyFiles`, and who the other side is.

gRPC shakes hands, and verifies both certificates, before a call reaches any of our code.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import grpc

from edgekd.keys.certificates import named_peer, peer_name
from peer.transports.grpc.keys import KeyFiles, TlsKeys

_NAMES = "x509_subject_alternative_name"


def listening(files: KeyFiles) -> Any:
    """Credentials of a listener, which looks at the files again for every connection that is made to it."""
    keys = served = files.current()

    def fetch() -> Any:  # on a thread of gRPC's; None: as before
        nonlocal served
        if (keys := files.current()) is served:
            return None
        served = keys
        return _configuration(keys)

    return grpc.dynamic_ssl_server_credentials(_configuration(keys), fetch, require_client_authentication=True)


def dialling(keys: TlsKeys) -> Any:
    """Credentials of a connection that is to be made."""
    return grpc.ssl_channel_credentials(keys.ca, keys.key, keys.certificate)


def only(id: int) -> tuple[str, str]:
    """The option of a channel at whose end nobody but peer `id` will do."""
    return "grpc.ssl_target_name_override", peer_name(id)


def proven(auth_context: Mapping[str, Iterable[bytes]]) -> int | None:
    """Of which peer the certificate is that a verified connection was dialled with; None: of none."""
    return named_peer([name.decode(errors="replace") for name in auth_context.get(_NAMES, ())])


def _configuration(keys: TlsKeys) -> Any:
    return grpc.ssl_server_certificate_configuration([(keys.key, keys.certificate)], keys.ca)
