"""If no peer answers at an address, ``edgekd status`` and other commands say what listens there instead."""

import asyncio
import contextlib
import http.server
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgekd.keys.certificates import DAYS
from edgekd.keys.keyring import make_keys
from edgekd.protocol.frames import WITHOUT_PREDICTIONS
from peer.network.asking import ask_status
from peer.transports.base import Stream
from peer.transports.by_name import make_transport
from peer.transports.greeting import Greeting, greeting

PATIENCE = 1.0  # seconds that a dial has
PROGRAM = "what listens there is no edgekd peer, but another program, such as a web server"
SAYS_NOTHING = "what listens there says nothing: it is no edgekd peer, or one that is stopped"
CLOSES = "what listens there closes the connection: it is no edgekd peer, or has no room for one more"
NO_ZMQ = "what listens there is no edgekd peer that speaks ZeroMQ, or one that uses keys"
OTHER_KEY = (
    "what listens there does not hold the key of peer 1, uses none, or another --transport, or is no edgekd peer"
)
HOST = "what listens there is no edgekd peer: it speaks TLS, with a certificate for shop.example"

# Frames of HTTP/2: settings, their acknowledgement, and a response to the first stream, of status 400 alone.
SETTINGS, ACKNOWLEDGED = b"\0\0\0\4\0\0\0\0\0", b"\0\0\0\4\1\0\0\0\0"
BAD_REQUEST = b"\0\0\1\1\5\0\0\0\1\x8c"
PREFACE, HEADERS = 24, 1  # bytes before the first frame; the type of a frame that begins a request


@contextlib.contextmanager
def web_server(certificate: Path | None = None) -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        server.RequestHandlerClass.log_message = lambda *_: None  # type: ignore[method-assign]
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def raw_server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Accepts each connection and serves it in a thread."""
    threads: list[threading.Thread] = []

    def work(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            serve(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                threads.append(threading.Thread(target=work, args=(listener.accept()[0],), daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()


def say(text: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.sendall(text)
        while connection.recv(4096):
            pass

    return serve


def over_http2(answer: bytes) -> Callable[[socket.socket], None]:
    """Answer each request with `answer`, bytes of HTTP/2."""

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rb") as frames:
            frames.read(PREFACE)
            connection.sendall(SETTINGS + ACKNOWLEDGED)
            while head := frames.read(9):
                frames.read(int.from_bytes(head[:3], "big"))
                if head[3] == HEADERS:
                    connection.sendall(answer)

    return serve


def unavailable(message: bytes) -> bytes:
    """What gRPC's servers answer that are unavailable, with a message of one's own."""
    fields = ((b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-status", b"14"))
    block = b"".join(
        b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
        for name, value in (*fields, (b"grpc-message", message))
    )
    return len(block).to_bytes(3, "big") + b"\1\5\0\0\0\1" + block


def answered(transport: str, port: int, keys: Path | None) -> str:
    """What ``edgekd status`` would print."""

    async def ask() -> str:
        made = make_transport(transport, WITHOUT_PREDICTIONS, keys)
        try:
            with pytest.raises(OSError, match=f"cannot reach 127.0.0.1:{port}: ") as caught:
                await ask_status(made, f"1@127.0.0.1:{port}", timeout=PATIENCE)
            return str(caught.value).partition(f"127.0.0.1:{port}: ")[2]
        finally:
            await made.close()

    return asyncio.run(ask())


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    make_keys(folder, [0, 1], datetime.now(timezone.utc), DAYS, renew=False)
    return folder


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a web server: a self-signed one for shop.example."""
    return make_certificate(tmp_path_factory.mktemp("web") / "both.pem")


def make_certificate(file: Path, *, twice: bool = False) -> Path:
    """A key and a certificate for shop.example; `twice`: it holds one extension two times."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.example")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("shop.example")]), critical=False)
    for name in ("1.2.3.4", "1.2.3.5"):
        made = made.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(name), b"\x05\0"), critical=False)
    der = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    if twice:  # the signature is wrong then, which nobody looks at
        der = der.replace(b"\x06\x03\x2a\x03\x05", b"\x06\x03\x2a\x03\x04")
    form, unlocked = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, form, unlocked).decode()
    file.write_text(private + ssl.DER_cert_to_PEM_cert(der))
    return file


CASES = {
    ("grpc", False): {"web": PROGRAM, "tls": HOST, "silent": SAYS_NOTHING, "banner": PROGRAM, "closing": CLOSES},
    ("grpc", True): {"web": PROGRAM, "tls": HOST, "silent": SAYS_NOTHING, "banner": PROGRAM, "closing": CLOSES},
    ("zmq", False): {
        "web": PROGRAM,
        "tls": NO_ZMQ,
        "silent": SAYS_NOTHING,
        "banner": PROGRAM,
        "closing": NO_ZMQ,
    },
    ("zmq", True): {
        "web": PROGRAM,
        "tls": OTHER_KEY,
        "silent": SAYS_NOTHING,
        "banner": PROGRAM,
        "closing": OTHER_KEY,
    },
}


@pytest.mark.parametrize("what", ["web", "tls", "silent", "banner", "closing"])
@pytest.mark.parametrize(("transport", "with_keys"), CASES)
def test_no_peer_is_said_where_something_else_listens(
    transport: str, with_keys: bool, what: str, keys: Path, certificate: Path
) -> None:
    servers = {
        "web": web_server,
        "tls": lambda: web_server(certificate),
        "silent": lambda: raw_server(say(b"")),
        "banner": lambda: raw_server(say(b"SSH-2.0-server\r\n")),
        "closing": lambda: raw_server(lambda connection: None),
    }
    with servers[what]() as port:
        said = answered(transport, port, keys / "peer-0" if with_keys else None)
    assert said.removeprefix("no answer within 1 s; ") == CASES[transport, with_keys][what]


@pytest.mark.parametrize("with_keys", [False, True])
def test_strange_certificate_is_no_peers(with_keys: bool, keys: Path, tmp_path: Path) -> None:
    with web_server(make_certificate(tmp_path / "twice.pem", twice=True)) as port:
        said = answered("grpc", port, keys / "peer-0" if with_keys else None)
    assert "what listens there is no edgekd peer: it speaks TLS, with a certificate for no host" in said


def test_zeromq_is_known_though_it_closes_over_bytes_of_another_protocol() -> None:
    def serve(connection: socket.socket) -> None:
        connection.settimeout(0.1)
        with contextlib.suppress(TimeoutError):
            connection.recv(1)
            return  # its greeting is lost on the way
        connection.sendall(b"\xff" + bytes(8) + b"\x7f")
        connection.settimeout(None)
        connection.recv(1)

    async def scenario(port: int) -> Greeting | None:
        return await greeting(f"127.0.0.1:{port}", within=5.0)

    with raw_server(serve) as port:
        assert asyncio.run(scenario(port)) is Greeting.ZEROMQ


def test_few_bytes_are_an_answer_too() -> None:
    with raw_server(say(b"+OK\r\n")) as port:
        assert answered("grpc", port, None).removeprefix("no answer within 1 s; ") == PROGRAM


def test_web_server_that_speaks_http2_is_no_peer() -> None:
    with raw_server(over_http2(BAD_REQUEST)) as port:
        assert answered("grpc", port, None) == PROGRAM


def test_message_of_a_stranger_is_shown_and_never_taken_for_grpcs_own() -> None:
    with raw_server(over_http2(unavailable(b"x ipv4:nonsense: y%0A%1B[2J"))) as port:
        assert answered("grpc", port, None) == r"x ipv4:nonsense: y\n\x1b[2J"
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.2)
        named = f"x ipv4:127.0.0.1:{elsewhere.getsockname()[1]}: y"
        with raw_server(over_http2(unavailable(named.encode()))) as port:
            assert answered("grpc", port, None) == named
        with pytest.raises(TimeoutError):
            elsewhere.accept()  # nobody has followed the stranger's words there


@pytest.mark.parametrize(
    ("dialling", "listening", "says"),
    [
        ("grpc", "zmq", "what listens there speaks ZeroMQ, as with --transport zmq"),
        ("zmq", "grpc", "what listens there speaks HTTP/2, as with --transport grpc"),
    ],
)
def test_peer_with_another_transport_is_named_as_such(dialling: str, listening: str, says: str) -> None:
    async def scenario() -> str:
        async def accept(stream: Stream) -> None: ...

        there, here = (make_transport(name, WITHOUT_PREDICTIONS) for name in (listening, dialling))
        try:
            address = await there.listen("127.0.0.1:0", accept)
            with pytest.raises(OSError, match="cannot reach") as caught:
                await ask_status(here, address, timeout=PATIENCE)
            return str(caught.value)
        finally:
            await here.close()
            await there.close()

    assert asyncio.run(scenario()).endswith(says)
