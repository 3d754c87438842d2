"""What kind of program listens at an address, by its first bytes: for the error message of a failed dial."""

import asyncio
import contextlib
from enum import Enum

from edgekd.protocol.addresses import parse_address

LOOK_WITHIN = 1.0  # seconds
SPEAKS_FIRST = 0.3  # seconds to wait for a server that sends the first bytes itself
NO_PEER = "what listens there is no edgekd peer"

# The first bytes of an HTTP/2 client, with empty settings.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_ZMTP = b"\xff" + bytes(7)  # the first bytes of ZeroMQ; the rest of its signature varies
_SETTINGS, _TYPE = 4, 3  # the type of the first frame of HTTP/2, and the index of that byte
_ALERT = b"\x15\x03"  # the answer of TLS to bytes that are no handshake


class Greeting(Enum):
    """The kinds of programs that can listen at an address, each with the second half of an error message."""

    HTTP2 = "what listens there speaks HTTP/2, as with --transport grpc"
    ZEROMQ = "what listens there speaks ZeroMQ, as with --transport zmq"
    TLS = "what listens there speaks TLS: it is no edgekd peer, or one with keys and --transport grpc"
    OTHER = f"{NO_PEER}, but another program, such as a web server"
    SILENT = "what listens there says nothing: it is no edgekd peer, or one that is stopped"
    CLOSED = "what listens there closes the connection: it is no edgekd peer, or has no room for one more"


async def greeting(address: str, *, within: float = LOOK_WITHIN) -> Greeting | None:
    """Find out what listens at "HOST:PORT": connect, begin HTTP/2, and look at the answer.

    If the other side closes the connection, a second connection sends nothing: a ZeroMQ socket sends the first bytes
    itself, and they can be lost if it closes because of bytes that it does not know.

    Args:
        address: "HOST:PORT".
        within: seconds.

    Returns:
        None: there is no connection.
    """
    found = await _answer(address, _PREFACE, within)
    if found is Greeting.CLOSED and await _answer(address, b"", SPEAKS_FIRST) is Greeting.ZEROMQ:
        return Greeting.ZEROMQ
    return found


async def _answer(address: str, say: bytes, within: float) -> Greeting | None:
    writer = None
    try:
        host, port = parse_address(address)
        began = asyncio.get_running_loop().time()
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), within)
        writer.write(say)
        left = within - (asyncio.get_running_loop().time() - began)
        said = await _first_bytes(reader, max(0.0, left))
    except asyncio.TimeoutError:
        return None
    except OSError:
        return Greeting.CLOSED if writer is not None else None
    finally:
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.transport.abort()
    return Greeting.SILENT if said is None else _kind(said)


async def _first_bytes(reader: asyncio.StreamReader, within: float) -> bytes | None:
    """The first bytes, up to 8, that arrive within `within` seconds; None: none, and the connection is still open."""
    said: list[bytes] = []

    async def read() -> None:
        while (left := len(_ZMTP) - sum(map(len, said))) and (more := await reader.read(left)):
            said.append(more)

    try:
        await asyncio.wait_for(read(), within)
    except asyncio.TimeoutError:
        return b"".join(said) or None
    return b"".join(said)


def _kind(said: bytes) -> Greeting:
    if not said:
        return Greeting.CLOSED
    if said.startswith(_ZMTP[:1]) and len(said) == len(_ZMTP):
        return Greeting.ZEROMQ
    if len(said) > _TYPE and said[0] == 0 and said[_TYPE] == _SETTINGS:
        return Greeting.HTTP2
    return Greeting.TLS if said.startswith(_ALERT) else Greeting.OTHER
