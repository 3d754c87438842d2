"""Addresses of this box: why one cannot be bound, which gRPC does not report; and which of them lead to a listener."""

import errno
import os
import socket
from ipaddress import ip_address
from typing import Any

from edgekd.errors import ConfigError, TransientError
from edgekd.protocol.addresses import parse_address

_PASSING = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, socket.EAI_AGAIN)  # may pass; a missing permission does not


def unbound(error: OSError, message: str) -> ConfigError:
    """Make the error for an address that cannot be bound: a `TransientError` if the cause may be temporary."""
    return (TransientError if error.errno in _PASSING else ConfigError)(message)


def check_bindable(address: str) -> None:
    """Check that "HOST:PORT" can be bound: bind it and release it at once.

    Raises:
        TransientError: the address is in use, this box does not have it (yet), or no name server answers.
        ConfigError: the name of the host is unknown, or this user may not listen there.
    """
    host, port = parse_address(address)
    here = "--listen takes an address of this box, or 0.0.0.0 for all"
    try:
        candidates = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise unbound(error, f"cannot listen on {address}: {error.strerror}; {here}") from error
    errors = [_bind_error(family, where) for family, _, _, _, where in candidates]
    failures = [failure for failure in errors if failure is not None]
    if any(failure.errno == errno.EADDRINUSE for failure in failures):
        advice = "stop the other or choose another --listen port"
        raise TransientError(f"cannot listen on {address}: address in use; {advice}")
    if len(failures) == len(candidates):  # "localhost" may also name an IPv6 address that the box does not have
        raise unbound(failures[0], f"cannot listen on {address}: {failures[0].strerror}; {here}")


def leads_to(listen: str, where: Any) -> bool:
    """Whether a dial to `where` on this box reaches the listener at `listen`.

    Args:
        listen: "HOST:PORT".
        where: an address of the socket module.

    Raises:
        ConfigError: `listen` is not "HOST:PORT".
        OSError: its host is unknown.
    """
    host, port = parse_address(listen)
    if where[1] != port:
        return False
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    hosts = {str(each[0]) for *_, each in found}
    if any(ip_address(each).is_unspecified for each in hosts):  # it stands for all addresses of the box
        family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        return _bind_error(family, (where[0], 0, *where[2:])) is None
    return where[0] in hosts


def _bind_error(family: int, where: Any) -> OSError | None:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if os.name == "posix":  # as gRPC does, so that ended connections do not block the port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        return error
    return None
