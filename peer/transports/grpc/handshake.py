"""The cause of a failed TLS handshake. gRPC reports it in words that change, or reports only "Socket closed".

So after a failed dial, Python's own TLS tries a handshake with the same keys, and its outcome shows the cause.
"""

import asyncio
import contextlib
import ssl
from datetime import datetime, timezone

from edgekd.keys.certificates import named_peer
from edgekd.protocol.addresses import parse_address
from peer.transports.grpc.keys import KeyFiles

ALPN = ["h2"]  # the same as gRPC's

_SILENT = "it does not speak TLS: start it with --certs DIR, too, and with the same --transport"
_NOT_YET_VALID, _EXPIRED = 9, 10  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and ..._HAS_EXPIRED


async def refusal(address: str, id: int | None, files: KeyFiles | None, *, timeout: float) -> str | None:
    """Why a stream to "HOST:PORT" was refused, if keys are the cause.

    Args:
        address: where something listens. A host name would be looked up.
        id: of the peer that should be there.
        files: this side's keys; None: it uses no keys.
        timeout: seconds.

    Returns:
        One line; None: the keys are not the cause, or the cause is unknown.
    """
    with contextlib.suppress(asyncio.TimeoutError, OSError):
        look = _look_without_keys(address) if files is None else _look(address, id, files)
        return await asyncio.wait_for(look, timeout)
    return None


async def _look_without_keys(address: str) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing will be sent
    try:
        _, writer = await _open(address, context)
    except ssl.SSLError as error:
        if "ALERT" not in (error.reason or ""):
            return None
    else:
        writer.transport.abort()
    return "it speaks TLS alone: give this peer its keys, --certs DIR"


async def _look(address: str, id: int | None, files: KeyFiles) -> str | None:
    keys = files.current()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the name is compared below, for a message with both names
    context.load_verify_locations(cadata=keys.ca.decode("ascii", "ignore"))
    with contextlib.suppress(ssl.SSLError):  # the files are being replaced
        context.load_cert_chain(files.folder / "cert.pem", files.folder / "key.pem")
    expired = keys.until < datetime.now(timezone.utc)
    guess = "which has expired" if expired else "as expired by the clock there, or of an authority not in its ca.pem"
    refused = f"it refuses the certificate of peer {keys.id}, {files.folder / 'cert.pem'}, {guess}"
    try:
        reader, writer = await _open(address, context)
    except ssl.SSLCertVerificationError as error:
        return _unproven(error)
    except ssl.SSLError as error:
        return refused if "ALERT" in (error.reason or "") else _SILENT
    try:
        certificate = writer.get_extra_info("peercert") or {}
        names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
        if id is not None and named_peer(names) != id:
            return f"what listens there is not peer {id}: its certificate is for {', '.join(names) or 'nobody'}"
        # In TLS 1.3 the dialling side completes its handshake before the listener has checked its certificate.
        return None if await reader.read(1) else refused
    except ConnectionError:
        return refused
    finally:
        writer.transport.abort()


def _unproven(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code == _EXPIRED:
        return "its certificate has expired"
    if error.verify_code == _NOT_YET_VALID:
        return "its certificate is not valid yet, by the clock of this box"
    return f"its certificate is not of an authority in this peer's ca.pem ({error.verify_message})"


async def _open(address: str, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context.set_alpn_protocols(ALPN)
    host, port = parse_address(address)
    return await asyncio.open_connection(host, port, ssl=context, server_hostname="")
