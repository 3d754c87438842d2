"""The addresses of a host, and why none of them can be reached.

The look-up blocks neither the asyncio loop nor the end of the process.
"""

import asyncio
import contextlib
import os
import socket
import threading
from typing import Any

Address = tuple[Any, ...]  # of the socket module: host, port and for IPv6 two numbers more


class LookUpError(ConnectionError):
    """The addresses of a host cannot be looked up at present."""


class UnresolvedError(LookUpError):
    """The name of a host is unknown."""


CLOSED_AT_ONCE = "the connection was closed at once"
_UNKNOWN = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}  # not every system has the second


async def resolve(host: str, port: int) -> list[Address]:
    """Look up the addresses of a host.

    Raises:
        UnresolvedError: the name is unknown; the message names it.
        LookUpError: no name server answers, or the process has too many open files.
    """
    with contextlib.suppress(socket.gaierror):
        return _looked_up(host, port, socket.AI_NUMERICHOST)
    # A daemon thread does the look-up, so that a silent name server does not delay the end of the process.
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Address]] = loop.create_future()

    def tell(found: list[Address] | OSError) -> None:
        if not answer.done():
            answer.set_exception(found) if isinstance(found, OSError) else answer.set_result(found)

    def look_up() -> None:
        try:
            found: list[Address] | OSError = _looked_up(host, port, 0)
        except OSError as error:
            found = _why_not_looked_up(host, error)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=look_up, daemon=True).start()
    return await answer


def _why_not_looked_up(host: str, error: OSError) -> LookUpError:
    if isinstance(error, socket.gaierror) and error.errno in _UNKNOWN:
        return UnresolvedError(f"{host} does not resolve: {error.strerror}")
    return LookUpError(f"{host} cannot be looked up: {error.strerror or error}")


def _looked_up(host: str, port: int, flags: int) -> list[Address]:
    return [found[4] for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)]


async def why_unreachable(where: Address) -> str:
    """The operating system's reason why an address cannot be reached; `CLOSED_AT_ONCE` if it can.

    ZeroMQ does not report the reason, and gRPC words it differently. This function tries to connect. If a program
    listens there by now, it sees a connection that ends at once.
    """
    family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(probe, where)
        except OSError as error:
            return os.strerror(error.errno) if error.errno else str(error)
    return CLOSED_AT_ONCE


async def why_host_unreachable(host: str, port: int) -> str:
    """The reason why no address of a host can be reached; `CLOSED_AT_ONCE` if one can.

    Raises:
        UnresolvedError, LookUpError: as for `resolve`.
    """
    reasons = [await why_unreachable(where) for where in await resolve(host, port)]
    return CLOSED_AT_ONCE if CLOSED_AT_ONCE in reasons else reasons[0]
