"""Mutual TLS: who does not get in, why, and the line that says so; new keys while the peers are running."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hellos import hello

from edgekd.errors import ConfigError
from edgekd.keys.certificates import DAYS, Authority, make_certificate, make_key
from edgekd.keys.keyring import make_keys
from edgekd.protocol.encodings import Packing
from edgekd.protocol.messages import Encoding, Frame, Goodbye, Parting
from peer import health
from peer.network.discovery import Discovery
from peer.network.hub import Hub
from peer.transports.base import Stream, Transport
from peer.transports.grpc.keys import KeyFiles, TlsKeys
from peer.transports.grpc.transport import SERVICE, GrpcTransport

DEADLINE = 30.0  # seconds: far more than any of this takes
LIMIT = 1 << 16  # bytes
NOW = datetime.now(timezone.utc)

Log = pytest.LogCaptureFixture


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The keys of peers 0, 1 and 2."""
    make_keys(tmp_path / "keys", [0, 1, 2], NOW, DAYS, renew=False)
    return tmp_path / "keys"


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """The keys of peers 0, 1 and 2 of another group."""
    make_keys(tmp_path / "others", [0, 1, 2], NOW, DAYS, renew=False)
    return tmp_path / "others"


class Lab:
    """Hubs and listeners, closed at the end."""

    def __init__(self, log: Log) -> None:
        self.hubs: list[Hub] = []
        self.transports: list[Transport] = []
        self.received: list[Frame] = []  # by listeners
        self._log = log

    async def hub(
        self, id: int, keys: Path | None, *peers: str, allow: frozenset[int] | None = None
    ) -> tuple[Hub, str]:
        """A hub that says that it is peer `id`, and where it listens."""
        hub = Hub(
            GrpcTransport(LIMIT, keys),
            hello(id),
            peers=peers,
            lockstep=False,
            packing=Packing(Encoding.FLOAT16),
            deliver=lambda arrival: None,
            allow=allow,
        )
        self.hubs.append(hub)
        return hub, await hub.start("127.0.0.1:0")

    async def listener(self, keys: Path | None) -> "tuple[str, asyncio.Queue[Stream]]":
        """An address, and the streams that come; each is read to its end."""
        arrivals: asyncio.Queue[Stream] = asyncio.Queue()

        async def accept(stream: Stream) -> None:
            arrivals.put_nowait(stream)
            while True:
                self.received.append(await stream.receive())

        self.transports.append(GrpcTransport(LIMIT, keys))
        return await self.transports[-1].listen("127.0.0.1:0", accept), arrivals

    async def dial(self, address: str, keys: Path | None) -> Stream:
        self.transports.append(GrpcTransport(LIMIT, keys))
        return await self.transports[-1].dial(address, timeout=5.0)

    async def until(self, holds: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not holds():
                await asyncio.sleep(0.01)

        await asyncio.wait_for(wait(), DEADLINE)

    async def until_logged(self, text: str) -> None:
        def found() -> bool:
            return any(text in record.getMessage() for record in self._log.records)

        try:
            await self.until(found)
        except asyncio.TimeoutError:
            raise AssertionError(f"{text!r} is not among {self._log.messages}") from None

    async def close(self) -> None:
        await asyncio.gather(*(hub.stop(Goodbye(parting=Parting.LEAVING)) for hub in self.hubs))
        await asyncio.gather(*(transport.close() for transport in self.transports))


@pytest.fixture
def run(caplog: Log) -> Callable[[Callable[[Lab], Awaitable[None]]], None]:
    def run_it(scenario: Callable[[Lab], Awaitable[None]]) -> None:
        async def main() -> None:
            lab = Lab(caplog)
            try:
                await asyncio.wait_for(scenario(lab), 2 * DEADLINE)
            finally:
                await lab.close()

        caplog.set_level(logging.INFO, "edgekd")
        asyncio.run(main())

    return run_it


Run = Callable[[Callable[[Lab], Awaitable[None]]], None]


def up(hub: Hub, id: int) -> bool:
    return id in hub.members and hub.members[id].up


def signed(keys: Path, folder: Path, id: int, now: datetime, days: int) -> Path:
    """A folder with a certificate of `keys`' authority for peer `id`, made at `now`."""
    authority = Authority((keys / "ca" / "cert.pem").read_bytes(), (keys / "ca" / "key.pem").read_bytes())
    key = make_key()
    folder.mkdir()
    for name, content in (
        ("ca.pem", authority.certificate),
        ("cert.pem", make_certificate(authority, id, key, now, days)),
        ("key.pem", key),
    ):
        (folder / name).write_bytes(content)
    return folder


def nameless(keys: Path) -> tuple[bytes, bytes]:
    """Key and certificate of the right authority, for no peer."""
    authority = x509.load_pem_x509_certificate((keys / "ca" / "cert.pem").read_bytes())
    signer = serialization.load_pem_private_key((keys / "ca" / "key.pem").read_bytes(), password=None)
    pem = make_key()
    owner = serialization.load_pem_private_key(pem, password=None)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "peer-1.edgekd")]))
        .issuer_name(authority.subject)
        .public_key(owner.public_key())  # type: ignore[arg-type]
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("printer.local")]), critical=False)
        .sign(signer, hashes.SHA256())  # type: ignore[arg-type]
    )
    return pem, made.public_bytes(serialization.Encoding.PEM)


@asynccontextmanager
async def stranger(certificate: bytes, key: bytes, ca: bytes) -> AsyncIterator[str]:
    """A TLS server that is not edgekd's, for keys with which a peer would not start."""
    server = grpc.aio.server()
    credentials = grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


# -- who gets in, and who does not ----------------------------------------------------------------------------------


def test_neighbours_with_keys_come_up_and_each_knows_by_its_key_who_the_other_is(run: Run, keys: Path) -> None:
    async def scenario(lab: Lab) -> None:
        a, where = await lab.hub(0, keys / "peer-0")
        b, _ = await lab.hub(1, keys / "peer-1", f"0@{where}")
        await lab.until(lambda: up(a, 1) and up(b, 0))
        address, arrivals = await lab.listener(keys / "peer-2")
        stream = await lab.dial(f"2@{address}", keys / "peer-1")
        assert (stream.holder, (await arrivals.get()).holder) == (2, 1)

    run(scenario)


def test_peer_of_another_authority_is_turned_away_before_any_of_our_code_runs(
    run: Run, keys: Path, others: Path
) -> None:
    async def scenario(lab: Lab) -> None:
        address, arrivals = await lab.listener(keys / "peer-0")
        dialler, _ = await lab.hub(1, others / "peer-1", f"0@{address}")
        await lab.until_logged(f"cannot reach {address}: its certificate is not of an authority in this peer's ca.pem")
        both = others / "both"  # believes the other authority, which does not believe its own
        shutil.copytree(others / "peer-1", both)
        with (both / "ca.pem").open("ab") as file:
            file.write((keys / "ca" / "cert.pem").read_bytes())
        refused = f"it refuses the certificate of peer 1, {both / 'cert.pem'}, as expired by the clock there, or of an"
        with pytest.raises(OSError, match=refused):
            await lab.dial(f"0@{address}", both)
        assert arrivals.empty()
        assert dialler.members == {}

    run(scenario)


def test_group_that_changes_its_authority_believes_both_for_a_while(run: Run, keys: Path, others: Path) -> None:
    async def scenario(lab: Lab) -> None:
        authorities = [(each / "ca" / "cert.pem").read_bytes() for each in (keys, others)]
        for folder in (keys / "peer-0", others / "peer-1"):
            (folder / "ca.pem").write_bytes(b"".join(authorities))
        a, where = await lab.hub(0, keys / "peer-0")
        b, _ = await lab.hub(1, others / "peer-1", f"0@{where}")
        await lab.until(lambda: up(a, 1) and up(b, 0))

    run(scenario)


def test_expired_certificate_of_the_other_side_is_named_as_such(run: Run, keys: Path, tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        old = signed(keys, tmp_path / "old", 0, NOW - timedelta(days=9), 1)
        early = signed(keys, tmp_path / "early", 0, NOW + timedelta(days=9), 1)
        for folder, why in ((old, "its certificate has expired"), (early, "its certificate is not valid yet")):
            files = [(folder / name).read_bytes() for name in ("cert.pem", "key.pem", "ca.pem")]
            async with stranger(*files) as address:
                _, _ = await lab.hub(1, keys / "peer-1", f"0@{address}")
                await lab.until_logged(f"cannot reach {address}: {why}")

    run(scenario)


def test_expired_certificate_of_who_dials_gets_no_stream(run: Run, keys: Path, tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        address, arrivals = await lab.listener(keys / "peer-0")
        old = signed(keys, tmp_path / "old", 1, NOW - timedelta(days=9), 1)
        ca, certificate, key = ((old / name).read_bytes() for name in ("ca.pem", "cert.pem", "key.pem"))
        options = [("grpc.ssl_target_name_override", "peer-0.edgekd")]
        for credentials in (grpc.ssl_channel_credentials(ca, key, certificate), grpc.ssl_channel_credentials(ca)):
            async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
                call = channel.stream_stream(f"/{SERVICE}/Exchange")()
                assert await call.code() is grpc.StatusCode.UNAVAILABLE
        running = GrpcTransport(LIMIT, keys / "peer-1")
        lab.transports.append(running)
        assert running._keys is not None
        for name in ("cert.pem", "key.pem"):
            shutil.copy(old / name, keys / "peer-1" / name)
        running._keys._keys = TlsKeys(1, ca, certificate, key, NOW - timedelta(days=8))  # as when it runs for too long
        with pytest.raises(OSError, match=r"it refuses the certificate of peer 1, .*cert\.pem, which has expired"):
            await running.dial(f"0@{address}", timeout=5.0)
        assert arrivals.empty()

    run(scenario)


def test_peer_without_keys_and_one_with_them_tell_each_other_what_is_missing(run: Run, keys: Path) -> None:
    async def scenario(lab: Lab) -> None:
        _, secured = await lab.hub(0, keys / "peer-0")
        _, plain = await lab.hub(1, None, secured)
        await lab.until_logged(f"cannot reach {secured}: it speaks TLS alone: give this peer its keys, --certs DIR")
        _, _ = await lab.hub(2, keys / "peer-2", f"1@{plain}")
        await lab.until_logged(f"cannot reach {plain}: it does not speak TLS: start it with --certs DIR, too, and")

    run(scenario)


def test_who_speaks_as_another_than_its_key_says_is_refused_by_the_hub(run: Run, keys: Path) -> None:
    async def scenario(lab: Lab) -> None:
        a, where = await lab.hub(0, keys / "peer-0")
        liar, _ = await lab.hub(2, keys / "peer-1", f"0@{where}")
        await lab.until_logged("refused 127.0.0.1:")
        await lab.until_logged("it says it is peer 2, with the key of peer 1")
        await lab.until_logged("peer 0 refused this peer")
        assert a.refused["identity"] >= 1
        assert not up(a, 2)
        assert not up(a, 1)
        assert liar.refused["identity"] == 0

    run(scenario)


def test_where_another_peer_answers_than_was_dialled_nothing_is_sent(run: Run, keys: Path) -> None:
    async def scenario(lab: Lab) -> None:
        address, arrivals = await lab.listener(keys / "peer-2")
        _, _ = await lab.hub(0, keys / "peer-0", f"1@{address}")
        there = "what listens there is not peer 1: its certificate is for peer-2.edgekd"
        await lab.until_logged(f"cannot reach {address}: {there}")
        assert arrivals.empty()

    run(scenario)


def test_certificate_that_names_no_peer_is_refused_though_its_authority_is_the_right_one(run: Run, keys: Path) -> None:
    async def scenario(lab: Lab) -> None:
        address, arrivals = await lab.listener(keys / "peer-0")
        key, certificate = nameless(keys)
        ca = (keys / "ca" / "cert.pem").read_bytes()
        options = [("grpc.ssl_target_name_override", "peer-0.edgekd")]
        credentials = grpc.ssl_channel_credentials(ca, key, certificate)
        async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
            call = channel.stream_stream(f"/{SERVICE}/Exchange")()
            assert await call.code() is grpc.StatusCode.PERMISSION_DENIED
        await lab.until_logged("refused somebody at 127.0.0.1: its certificate names no peer, as peer-ID.edgekd")
        assert arrivals.empty()
        async with stranger(certificate, key, ca) as address:
            with pytest.raises(OSError, match=r"is not peer 0: its certificate is for printer\.local"):
                await lab.dial(f"0@{address}", keys / "peer-1")

    run(scenario)


def test_dialling_with_keys_and_without_an_id_says_what_to_write(run: Run, keys: Path) -> None:
    async def scenario(lab: Lab) -> None:
        with pytest.raises(OSError, match=r"with keys say which peer is there, ID@127\.0\.0\.1:7000"):
            await lab.dial("127.0.0.1:7000", keys / "peer-1")

    run(scenario)


def test_health_is_told_to_who_has_keys(run: Run, keys: Path) -> None:
    async def scenario(lab: Lab) -> None:
        address, _ = await lab.listener(keys / "peer-0")
        check = health.check
        assert await asyncio.to_thread(check, address, keys / "peer-0") is None
        assert await asyncio.to_thread(check, f"0@{address}", keys / "peer-1") is None
        assert "not healthy" in str(await asyncio.to_thread(check, address, keys / "peer-1"))
        assert "not healthy" in str(await asyncio.to_thread(check, address))

    run(scenario)


@pytest.mark.parametrize("secured", [True, False])
def test_who_is_not_allowed_is_refused_and_counted_on_either_side_of_the_dial(
    run: Run, keys: Path, secured: bool
) -> None:
    def own(id: int) -> Path | None:
        return keys / f"peer-{id}" if secured else None

    async def scenario(lab: Lab) -> None:
        strict, where = await lab.hub(0, own(0), allow=frozenset({1}))
        friend, _ = await lab.hub(1, own(1), f"0@{where}")
        other, there = await lab.hub(2, own(2), f"0@{where}")
        await lab.until(lambda: up(strict, 1) and up(friend, 0) and strict.refused["allow"] >= 1)
        await lab.until_logged("refused peer 2 at 127.0.0.1")
        await lab.until_logged("peer 0 refused this peer: peer 0 does not allow peer 2")
        assert not up(strict, 2)
        assert not up(other, 0)
        strict.dial_also(f"2@{there}", 2)
        assert not strict._dialler.dials(f"2@{there}"), "whoever is announced and not allowed is left alone"

    run(scenario)


def test_discovery_asks_for_the_id_that_was_announced_where_there_are_keys() -> None:
    for by_id, expected in ((True, ["7@10.0.0.1:7000"]), (False, ["10.0.0.1:7000"])):
        discovery = Discovery(hello(0), "", dial=lambda address, id: None, forget=lambda address: None, by_id=by_id)
        assert discovery.dialled_as(7, ["10.0.0.1"], 7000) == expected


# -- new keys while it runs -----------------------------------------------------------------------------------------


def test_new_keys_serve_the_next_connection_of_either_side_and_cut_no_stream(
    run: Run, keys: Path, tmp_path: Path
) -> None:
    async def scenario(lab: Lab) -> None:
        address, arrivals = await lab.listener(keys / "peer-0")
        dialling = GrpcTransport(LIMIT, keys / "peer-1")
        lab.transports.append(dialling)
        before = await dialling.dial(f"0@{address}", timeout=5.0)
        # A new authority: nobody with the old keys gets in any more, nor is believed.
        shutil.rmtree(keys / "ca")
        for id in range(3):
            (keys / f"peer-{id}" / "ca.pem").unlink()
        make_keys(keys, [0, 1], NOW, DAYS, renew=True)
        after = await dialling.dial(f"0@{address}", timeout=5.0)
        assert [(await arrivals.get()).holder for _ in (before, after)] == [1, 1]
        await lab.until_logged(f"new keys in {keys / 'peer-0'}, valid until ")
        await lab.until_logged(f"new keys in {keys / 'peer-1'}, valid until ")
        await before.send(Goodbye(parting=Parting.DONE, detail="on the stream from before"))
        await lab.until(lambda: bool(lab.received))

    run(scenario)


@pytest.mark.parametrize("damage", ["half", "missing", "another's", "expired"])
def test_bad_new_file_is_warned_of_once_and_the_old_keys_go_on(
    run: Run, keys: Path, tmp_path: Path, caplog: Log, damage: str
) -> None:
    folder = keys / "peer-0"
    good = (folder / "cert.pem").read_bytes()

    def spoil() -> str:
        path = folder / "cert.pem"
        if damage == "half":
            path.write_bytes(good[: len(good) // 2])
            return f"the keys in {folder} will not do: cert.pem holds no certificate"
        if damage == "missing":
            path.unlink()
            return f"cannot read {path}: No such file or directory"
        if damage == "another's":
            shutil.copy(keys / "peer-1" / "cert.pem", path)
            shutil.copy(keys / "peer-1" / "key.pem", folder / "key.pem")
            return f"{folder} holds the keys of peer 1 now, not of peer 0"
        old = signed(keys, tmp_path / "old", 0, NOW - timedelta(days=9), 1)
        shutil.copy(old / "cert.pem", path)
        shutil.copy(old / "key.pem", folder / "key.pem")
        return f"the keys in {folder} will not do: cert.pem has expired on"

    async def scenario(lab: Lab) -> None:
        address, arrivals = await lab.listener(folder)
        kept = (folder / "key.pem").read_bytes()
        said = spoil()
        for _ in range(3):
            await lab.dial(f"0@{address}", keys / "peer-1")
            await arrivals.get()
        await lab.until_logged(said)
        warnings = [record for record in caplog.records if said in record.getMessage()]
        assert [record.levelno for record in warnings] == [logging.WARNING]
        assert warnings[0].getMessage().endswith("going on with the keys from before")
        (folder / "key.pem").write_bytes(kept)
        (folder / "cert.pem").write_bytes(good)
        await lab.dial(f"0@{address}", keys / "peer-1")

    run(scenario)


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem"])
def test_missing_or_foreign_file_at_the_start_is_named_with_what_to_do(keys: Path, others: Path, name: str) -> None:
    folder = keys / "peer-1"
    shutil.copy(others / "peer-1" / name, folder / name)
    with pytest.raises(ConfigError, match=f"the keys in {folder} will not do: cert.pem .*`edgekd certs` makes"):
        KeyFiles(folder)
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=f"cannot read {folder / name}: No such file.*`edgekd certs` makes"):
        GrpcTransport(LIMIT, folder)
