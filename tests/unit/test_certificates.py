"""Keys and certificates: what they say, who may read them, and that nothing is overwritten."""

import re
import shutil
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import zmq.auth
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgekd.cli.certs import DAYS, command
from edgekd.errors import ConfigError
from edgekd.files.atomic import write_atomically
from edgekd.keys import certificates
from edgekd.keys.certificates import (
    Authority,
    key_name,
    make_authority,
    make_certificate,
    make_key,
    named_holder,
    prove,
)
from edgekd.keys.keyring import make_keys, revoke
from edgekd.keys.revocation import revoked
from edgekd.protocol.holders import Holder

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def read(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority(NOW)


def test_certificate_binds_the_id_by_its_one_name_and_serves_both_sides(authority: Authority) -> None:
    key = make_key()
    made = read(make_certificate(authority, 7, key, NOW))
    made.verify_directly_issued_by(read(authority.certificate))
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert list(names.value) == [x509.DNSName("peer-7.edgekd")]
    uses = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert set(uses.value) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    usage = made.extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.value.digital_signature, usage.value.key_cert_sign) == (True, False)
    basic = made.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca) == (True, False)
    public = made.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert isinstance(public.curve, ec.SECP256R1)


def test_authority_signs_peers_and_no_other_authority(authority: Authority) -> None:
    made = read(authority.certificate)
    basic = made.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    usage = made.extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (True, True, False)
    assert made.subject != read(make_authority(NOW).certificate).subject, "each has a name of its own"


def test_it_is_valid_from_a_day_before_and_no_longer_than_its_authority(authority: Authority) -> None:
    made = read(make_certificate(authority, 0, make_key(), NOW, days=825))
    assert made.not_valid_before_utc == NOW - timedelta(hours=24)
    assert made.not_valid_after_utc == NOW + timedelta(days=825)
    short = make_authority(NOW, days=10)
    end = read(make_certificate(short, 0, make_key(), NOW, days=825)).not_valid_after_utc
    assert end == read(short.certificate).not_valid_after_utc == NOW + timedelta(days=10)


@pytest.mark.parametrize("whose", [0, 1, 10, 2**31 - 1, "observer-pc", "observer-2nd-floor"])
def test_name_in_a_certificate_leads_back_to_its_holder(whose: Holder) -> None:
    assert named_holder([key_name(whose)]) == whose
    assert named_holder(["elsewhere.example", key_name(whose)]) == whose


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["peer-1"],
        ["peer-01.edgekd"],
        ["peer-1.edgekd.example"],
        ["a.peer-1.edgekd"],
        ["*.edgekd"],
        ["peer-1.edgekd\n"],
        ["peer-1.edgekd", "peer-2.edgekd"],
        [f"peer-{2**31}.edgekd"],
        ["peer-\u0661.edgekd"],
        ["1.edgekd"],
        ["observer-.edgekd"],
        ["observer-PC.edgekd"],
        ["peer-1.edgekd", "observer-pc.edgekd"],
    ],
)
def test_other_names_and_those_of_two_peers_are_of_none(names: list[str]) -> None:
    assert named_holder(names) is None


def test_sound_files_prove_the_id_and_others_are_refused_with_the_reason(authority: Authority) -> None:
    key, other = make_key(), make_authority(NOW)
    good = make_certificate(authority, 3, key, NOW, days=5)
    ca = authority.certificate
    proof = prove(ca, good, key, NOW)
    assert (proof.holder, proof.until) == (3, NOW + timedelta(days=5))
    assert prove(other.certificate + ca, good, key, NOW).holder == 3, "any of several authorities will do"
    for files, now, why in (
        ((ca, good, make_key()), NOW, "cert.pem and key.pem do not belong together"),
        ((other.certificate, good, key), NOW, "cert.pem is not signed by the authority in ca.pem"),
        ((ca, good, key), NOW + timedelta(days=6), "cert.pem has expired on 2026-03-06 12:00 UTC"),
        ((ca, good, key), NOW - timedelta(days=2), "valid from 2026-02-28 12:00 UTC on, and this box's clock says"),
        ((ca, good[:100], key), NOW, "cert.pem holds no certificate"),
        ((b"", good, key), NOW, "ca.pem holds no certificate"),
        ((ca, good, b"nothing"), NOW, "key.pem holds no private key"),
        ((ca, ca, authority.key), NOW, r"cert.pem names no peer: it needs the DNS name peer-ID.edgekd"),
    ):
        with pytest.raises(ConfigError, match=why):
            prove(*files, now)


def test_secrets_are_for_their_owner_alone_and_each_box_has_all_that_it_needs(tmp_path: Path) -> None:
    assert make_keys(tmp_path, [0, 1, 2], NOW, DAYS, renew=False) == []
    assert sorted(contents(tmp_path / "peer-1")) == [
        *("ca.pem", "cert.pem", "curve.key_secret", "curve/0.key", "curve/1.key", "curve/2.key", "key.pem")
    ]
    secrets = [tmp_path / "ca" / "key.pem", *tmp_path.glob("peer-*/key.pem"), *tmp_path.glob("peer-*/curve.key_secret")]
    assert len(secrets) == 7
    assert {mode(path) for path in secrets} == {0o600}
    assert {mode(path.parent) for path in secrets} == {0o700}
    for id in range(3):
        files = [(tmp_path / f"peer-{id}" / name).read_bytes() for name in ("ca.pem", "cert.pem", "key.pem")]
        assert prove(files[0], files[1], files[2], NOW).holder == id
        public, secret = zmq.auth.load_certificate(tmp_path / f"peer-{id}" / "curve.key_secret")
        assert secret is not None
        for other in range(3):
            assert zmq.auth.load_certificate(tmp_path / f"peer-{other}" / "curve" / f"{id}.key") == (public, None)


def test_secret_is_created_for_its_owner_alone_whatever_was_left_there(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(b"old")
    path.chmod(0o644)

    seen: list[int] = []

    def pieces() -> Iterator[bytes]:
        seen.extend(mode(other) for other in tmp_path.glob(".key.pem.*.tmp"))
        yield b"new"

    write_atomically(path, pieces(), 0o600)
    assert seen == [0o600], "before the first byte"
    assert (path.read_bytes(), mode(path)) == (b"new", 0o600)


def test_made_again_nothing_is_overwritten_and_a_later_peer_is_of_the_same_group(tmp_path: Path) -> None:
    make_keys(tmp_path, [0, 1], NOW, DAYS, renew=False)
    before = contents(tmp_path)
    make_keys(tmp_path, [0, 1], NOW + timedelta(days=1), DAYS, renew=False)
    assert contents(tmp_path) == before
    assert make_keys(tmp_path, [2], NOW + timedelta(days=9), DAYS, renew=False) == [0, 1]
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {"peer-0/curve/2.key", "peer-1/curve/2.key"} <= after.keys()
    assert after["peer-2/ca.pem"] == before["ca/cert.pem"]


def test_renewal_changes_the_keys_of_these_peers_alone(tmp_path: Path) -> None:
    make_keys(tmp_path, [0, 1], NOW, DAYS, renew=False)
    before = contents(tmp_path)
    assert make_keys(tmp_path, [1], NOW, DAYS, renew=True) == [0]
    after = contents(tmp_path)
    changed = {name for name in after if after[name] != before[name]}
    own = {"peer-1/cert.pem", "peer-1/key.pem", "peer-1/curve.key_secret", "peer-1/curve/1.key"}
    assert changed == own | {"peer-0/curve/1.key"}
    assert mode(tmp_path / "peer-1" / "key.pem") == 0o600


def test_renewal_of_a_peer_without_keys_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    make_keys(tmp_path, [0, 1], NOW, DAYS, renew=False)
    before = contents(tmp_path)
    with pytest.raises(
        ConfigError, match="holds no keys of peer 7, peer 8 to renew: `edgekd certs --ids 7,8`, without "
    ):
        make_keys(tmp_path, [1, 7, 8], NOW, DAYS, renew=True)
    assert contents(tmp_path) == before
    with pytest.raises(ConfigError, match="holds no keys of peer 0 to renew"):
        CliRunner().invoke(command, ["--ids", "0", "--renew", "--out", str(tmp_path / "new")], catch_exceptions=False)
    assert not (tmp_path / "new").exists()


def test_interrupted_peer_is_renewed_too(tmp_path: Path) -> None:
    make_keys(tmp_path, [0], NOW, DAYS, renew=False)
    (tmp_path / "peer-0" / "cert.pem").unlink()
    make_keys(tmp_path, [0], NOW, DAYS, renew=True)
    assert (tmp_path / "peer-0" / "cert.pem").exists()


def test_what_was_interrupted_is_completed_around_the_key_that_is_there(tmp_path: Path) -> None:
    make_keys(tmp_path, [0], NOW, DAYS, renew=False)
    key = (tmp_path / "peer-0" / "key.pem").read_bytes()
    (tmp_path / "peer-0" / "cert.pem").unlink()
    make_keys(tmp_path, [0], NOW, DAYS, renew=False)
    files = [(tmp_path / "peer-0" / name).read_bytes() for name in ("ca.pem", "cert.pem")]
    assert prove(files[0], files[1], key, NOW).holder == 0


def test_group_without_its_authoritys_key_gets_no_second_authority(tmp_path: Path) -> None:
    make_keys(tmp_path, [0], NOW, DAYS, renew=False)
    (tmp_path / "ca" / "key.pem").unlink()
    with pytest.raises(ConfigError, match=r"ca/key.pem is missing: put it back"):
        make_keys(tmp_path, [1], NOW, DAYS, renew=False)


def test_the_commands_default_is_the_librarys() -> None:
    assert certificates.DAYS == DAYS


def test_command_says_what_goes_where(tmp_path: Path) -> None:
    def certs(*arguments: str) -> list[str]:
        result = CliRunner().invoke(command, [*arguments, "--out", str(tmp_path / "c")], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output.splitlines()

    first = certs("--ids", "0,1")
    assert first[0] == f"{tmp_path}/c/ca: a new authority, for a new group"
    assert first[1] == f"{tmp_path}/c/peer-0: made; all that the box of peer 0 needs, for --certs"
    assert first[-1] == f"{tmp_path}/c/ca/key.pem lets anybody in: keep it here, and give it to no box"
    assert not any("copy" in line for line in first)
    shutil.copytree(tmp_path / "c" / "peer-1", tmp_path / "c" / "peer-1.bak")  # somebody keeps the old ones
    second = certs("--ids", "1,4")
    assert second[0].startswith(f"{tmp_path}/c/peer-1: kept as it was;")
    assert second[1].startswith(f"{tmp_path}/c/peer-4: made;")
    assert second[2].startswith(f"with --transport zmq copy {tmp_path}/c/peer-0/curve to those peers' boxes")
    assert certs("--ids", "4", "--renew")[0].startswith(f"{tmp_path}/c/peer-4: renewed;")
    for wrong in ("", "a", "1,-2", "1,,2", str(2**31)):
        with pytest.raises(ConfigError, match="ids are whole numbers from 0"):
            certs("--ids", wrong)


def test_observer_has_what_it_needs_to_ask_and_its_certificate_serves_no_listener(tmp_path: Path) -> None:
    make_keys(tmp_path, [0], NOW, DAYS, renew=False)
    assert make_keys(tmp_path, ["observer-office"], NOW, DAYS, renew=False) == [0]
    folder = tmp_path / "observer-office"
    assert sorted(contents(folder)) == [
        *("ca.pem", "cert.pem", "curve.key_secret", "curve/0.key", "curve/observer-office.key", "key.pem")
    ]
    assert (tmp_path / "peer-0" / "curve" / "observer-office.key").exists()
    files = [(folder / name).read_bytes() for name in ("ca.pem", "cert.pem", "key.pem")]
    assert prove(files[0], files[1], files[2], NOW).holder == "observer-office"
    uses = x509.load_pem_x509_certificate(files[1]).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_who_is_shut_out_is_listed_for_every_peer_that_is_left_and_gets_no_new_key(tmp_path: Path) -> None:
    make_keys(tmp_path, [0, 1, 2, "observer-pc"], NOW, DAYS, renew=False)
    copies = revoke(tmp_path, [2, "observer-pc"])
    assert copies == [tmp_path / f"peer-{id}" / "revoked.txt" for id in (0, 1)]
    assert revoked(tmp_path / "peer-0") == {2, "observer-pc"}
    assert revoke(tmp_path, [2]) == copies, "it is shut out already, and perhaps not copied"
    assert revoke(tmp_path, [1]) == [tmp_path / "peer-0" / "revoked.txt"]
    make_keys(tmp_path, [3], NOW, DAYS, renew=False)
    assert revoked(tmp_path / "peer-3") == {1, 2, "observer-pc"}, "a newcomer has the list, too"
    before = contents(tmp_path)
    for renew in (False, True):
        with pytest.raises(
            ConfigError, match=r"the keys of peer 2, observer pc are shut out, by .*revoked.txt: choose"
        ):
            make_keys(tmp_path, [3, 2, "observer-pc"], NOW, DAYS, renew=renew)
    with pytest.raises(ConfigError, match="holds no keys of a group; name with --out"):
        revoke(tmp_path / "peer-0", [2])
    assert contents(tmp_path) == before
    shutil.rmtree(tmp_path / "peer-3")  # moved to its box, which is stolen
    revoke(tmp_path, [3])
    assert revoked(tmp_path / "peer-0") == {1, 2, 3, "observer-pc"}
    make_keys(tmp_path, [4], NOW, DAYS, renew=False)
    (tmp_path / "ca" / "revoked.txt").write_text("peer-1  # stolen in May\npeer-2")
    revoke(tmp_path, [0])
    assert (tmp_path / "peer-4" / "revoked.txt").read_text() == "peer-1  # stolen in May\npeer-2\npeer-0\n"
    (tmp_path / "ca" / "revoked.txt").write_text("peer-1\nsomebody\n")
    with pytest.raises(
        ConfigError, match=r"revoked.txt: a key is that of a peer, such as 3.*got 'somebody'; one a line"
    ):
        revoked(tmp_path / "ca")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "say whose keys: --ids 0,1,2 makes those of peers"),
        (
            ("--observer", "My PC"),
            "the name of an observer is 1 to 32 of a to z, 0 to 9 and, between them, -, got 'My PC'",
        ),
        (("--observer", "x" * 33), "the name of an observer is 1 to 32"),
        (("--revoke", "2", "--ids", "3"), "--revoke shuts keys out: it goes with none of"),
        (("--revoke", "somebody"), "a key is that of a peer, such as 3, or of an observer"),
        (("--revoke", "2"), "holds no keys of a group"),
    ],
)
def test_command_says_what_is_wrong_with_what_it_was_told(tmp_path: Path, arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(why)):
        CliRunner().invoke(command, [*arguments, "--out", str(tmp_path / "new")], catch_exceptions=False)
    assert not (tmp_path / "new").exists()


def test_command_names_an_observer_pc_unless_it_is_told_another_name(tmp_path: Path) -> None:
    for arguments, name in ((["--observer"], "pc"), (["--observer", "office", "--days", "9"], "office")):
        result = CliRunner().invoke(command, ["--out", str(tmp_path), *arguments], catch_exceptions=False)
        assert (
            f"{tmp_path}/observer-{name}: made; all that observer {name} needs, for `edgekd status --certs`"
            in result.output
        )
