"""Addresses of this box: whether one can be bound, which gRPC does not say why not; and which lead to a listener."""

import errno
import os
import socket
from ipaddress import ip_address
from typing import Any

from edgekd.errors import ConfigError, TransientError
from edgekd.protocol.addresses import parse_address

_PASSING = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, socket.EAI_AGAIN)  # not: a port for which one must be root


def unbound(error: OSError, message: str) -> ConfigError:
    """The error for an address that cannot be bound; a `TransientError` if what is in the way may pass by itself."""
    return (TransientError if error.errno in _PASSING else ConfigError)(message)


def check_bindable(address: str) -> None:
    """Bind "HOST:PORT" and release it at once.

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
    """Whether whoever dials `where` on this box reaches the one who listens at "HOST:PORT".

    Args:
        listen: "HOST:PORT".
        where: an address of the socket module.

    Raises:
        ConfigError: `listen` has another form.
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
