"""The cause of a failed connection. gRPC's messages about it change between versions, or only say "Socket closed".

So after a failed dial, Python's own TLS tries a handshake with the same keys, and its outcome shows the cause. If the
other side does not use TLS, its first bytes are looked at.
"""

import asyncio
import contextlib
import ssl
from datetime import datetime, timezone

from cryptography import x509

from edgekd.keys.certificates import named_holder
from edgekd.printable import LONGEST_WHY, printable
from edgekd.protocol.addresses import format_address, parse_address
from edgekd.protocol.holders import spoken
from peer.transports.greeting import NO_PEER, Greeting, greeting
from peer.transports.grpc.keys import KeyFiles
from peer.transports.resolving import resolve

ALPN = ["h2"]  # the same as gRPC's

_WITHOUT_TLS = "it does not speak TLS: start it with --certs DIR, too, and with the same --transport"
_NOT_YET_VALID, _EXPIRED = 9, 10  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and ..._HAS_EXPIRED


async def refusal(address: str, id: int | None, files: KeyFiles | None, *, timeout: float) -> str | None:
    """Explain why there is no connection to "HOST:PORT", if keys are the cause, or no peer listens there.

    Args:
        address: where something may listen. All addresses of a host name are tried, one after another.
        id: of the peer that should be there.
        files: this side's keys; None: it uses no keys.
        timeout: seconds.

    Returns:
        One line; None: the cause is another one, or unknown.
    """
    with contextlib.suppress(asyncio.TimeoutError, OSError):
        return await asyncio.wait_for(_first_refusal(address, id, files, timeout), timeout)
    return None


async def _first_refusal(address: str, id: int | None, files: KeyFiles | None, timeout: float) -> str | None:
    for found in await resolve(*parse_address(address)):
        where = format_address(found[0], found[1])
        look = _look_without_keys(where, timeout) if files is None else _look(where, id, files, timeout)
        if (why := await look) is not None:
            return why
    return None


async def _look_without_keys(address: str, timeout: float) -> str | None:
    try:
        stranger = await _stranger(address)
    except ssl.SSLError as error:
        if "ALERT" not in (error.reason or ""):
            return await _greeted(address, None, timeout)
        stranger = None
    except ConnectionError:
        return await _greeted(address, None, timeout)
    return stranger or "it speaks TLS alone: give this peer its keys, --certs DIR"


async def _greeted(address: str, http2: str | None, timeout: float) -> str | None:
    """A line about a listener without TLS; `http2` if it uses HTTP/2, as gRPC does; None: unknown, or TLS."""
    found = await greeting(address, within=timeout)
    if found is Greeting.HTTP2:
        return http2
    return found.value if found not in (None, Greeting.TLS) else None


async def _stranger(address: str) -> str | None:
    """A line about a TLS server whose certificate names no peer; None: it names one.

    Raises:
        OSError: there is no handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing will be sent
    _, writer = await _open(address, context)
    try:
        certificate = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = found.get_values_for_type(x509.DNSName)
    except Exception:  # a stranger's certificate may be missing, damaged or without names
        names = []
    finally:
        writer.transport.abort()
    if named_holder(names) is not None:
        return None
    return f"{NO_PEER}: it speaks TLS, with a certificate for {printable(', '.join(names) or 'no host', LONGEST_WHY)}"


async def _look(address: str, id: int | None, files: KeyFiles, timeout: float) -> str | None:
    keys = files.current()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the name is compared below, for a message with both names
    context.load_verify_locations(cadata=keys.ca.decode("ascii", "ignore"))
    with contextlib.suppress(ssl.SSLError):  # the files are being replaced
        context.load_cert_chain(files.folder / "cert.pem", files.folder / "key.pem")
    expired = keys.until < datetime.now(timezone.utc)
    guess = "which has expired" if expired else "as expired by the clock there, or of an authority not in its ca.pem"
    refused = f"it refuses the certificate of {spoken(keys.holder)}, {files.folder / 'cert.pem'}, {guess}"
    try:
        reader, writer = await _open(address, context)
    except ssl.SSLCertVerificationError as error:
        return await _stranger(address) or _unproven(error)
    except ssl.SSLError as error:
        return refused if "ALERT" in (error.reason or "") else await _greeted(address, _WITHOUT_TLS, timeout)
    except ConnectionError:
        return await _greeted(address, _WITHOUT_TLS, timeout)
    try:
        certificate = writer.get_extra_info("peercert") or {}
        names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
        if id is not None and named_holder(names) != id:
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
