"""What listens at an address, by the first bytes that it sends: for the message where no peer answers a dial."""

import asyncio
import contextlib
from enum import Enum

from edgekd.protocol.addresses import parse_address

LOOK_WITHIN = 1.0  # seconds
SPEAKS_FIRST = 0.3  # seconds in which who speaks first has spoken
NO_PEER = "what listens there is no edgekd peer"

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # how HTTP/2 begins, with empty settings
_ZMTP = b"\xff" + bytes(7)  # how ZeroMQ begins; the rest of its signature varies
_SETTINGS, _TYPE = 4, 3  # the type of the first frame of HTTP/2, and its place
_ALERT = b"\x15\x03"  # how TLS refuses bytes that are no handshake


class Greeting(Enum):
    """What listens there, as the end of a sentence about it."""

    HTTP2 = "what listens there speaks HTTP/2, as with --transport grpc"
    ZEROMQ = "what listens there speaks ZeroMQ, as with --transport zmq"
    TLS = "what listens there speaks TLS: it is no edgekd peer, or one with keys and --transport grpc"
    OTHER = f"{NO_PEER}, but another program, such as a web server"
    SILENT = "what listens there says nothing: it is no edgekd peer, or one that is stopped"
    CLOSED = "what listens there closes the connection: it is no edgekd peer, or has no room for one more"


async def greeting(address: str, *, within: float = LOOK_WITHIN) -> Greeting | None:
    """Connect to "HOST:PORT", begin HTTP/2, and see what comes back in `within` seconds.

    None: there is no connection. Whoever closes it is asked once more, without a word of ours: ZeroMQ speaks first, and
    what it has said can be lost when it closes over bytes that it does not know.
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
    """As many as tell one protocol from another, or those that have come in time; None: there were none."""
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
