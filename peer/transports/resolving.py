"""The addresses of a host, looked up without holding up the loop or the end of the process."""

import asyncio
import contextlib
import socket
import threading
from typing import Any

Address = tuple[Any, ...]  # of the socket module: host, port and for IPv6 two numbers more


async def resolve(host: str, port: int) -> list[Address]:
    """Look up the addresses of a host.

    Raises:
        OSError: the name is unknown.
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
            found = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=look_up, daemon=True).start()
    return await answer


def _looked_up(host: str, port: int, flags: int) -> list[Address]:
    return [found[4] for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)]
