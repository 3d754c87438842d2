"""Keys and certificates of a group, as pure functions: bytes in, bytes out, and `now` as an argument.

All files are in PEM format. Each group has one certificate authority. A certificate binds a key to its holder (a peer's
id or an observer's name) by the one DNS name in it.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgekd.errors import ConfigError, TransientError
from edgekd.protocol.holders import Holder, folder_name, holder

EARLY = timedelta(hours=24)  # certificates are valid from so long before now, since the clocks of edge boxes are off
CA_DAYS = 3650  # long, since a new authority means a visit to every box, a new certificate only to one
DAYS = 825  # validity of a peer's certificate: the longest that every common TLS library accepts

_ENDING = ".edgekd"  # ending of the names in certificates
_USES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


@dataclass(frozen=True, slots=True)
class Authority:
    """The certificate authority that signs the certificates of a group, as PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Proof:
    """The content of a certificate that was checked."""

    holder: Holder
    until: datetime  # end of its validity


def key_name(whose: Holder) -> str:
    """The DNS name that binds a certificate to its holder, for example "peer-3.edgekd" or "observer-pc.edgekd"."""
    return f"{folder_name(whose)}{_ENDING}"


def named_holder(names: list[str]) -> Holder | None:
    """The one holder that the names of a certificate name; None if they name no holder or several."""
    found: set[Holder] = set()
    for name in names:
        with contextlib.suppress(ConfigError):
            if name.endswith(_ENDING) and key_name(whose := holder(name.removesuffix(_ENDING))) == name:
                found.add(whose)
    return found.pop() if len(found) == 1 else None


def make_key() -> bytes:
    """Make a private key, EC P-256. It is not encrypted: a peer must start without a person who types a password."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def make_authority(now: datetime, days: int = CA_DAYS) -> Authority:
    """Make a new authority, valid from `EARLY` before `now` until `days` after `now`."""
    pem = make_key()
    key, serial = _private(pem), x509.random_serial_number()
    name = _name(f"edgekd {serial:x}"[:23])  # a name of its own, so that peers of another group are recognised by it
    builder = _builder(name, name, key, serial, now, now + timedelta(days=days))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
    return Authority(_pem(builder.sign(key, hashes.SHA256())), pem)


def make_certificate(authority: Authority, whose: Holder, key: bytes, now: datetime, days: int = DAYS) -> bytes:
    """Make a certificate: a peer uses it to dial and to listen, an observer only to dial.

    Args:
        authority: the group's authority. The certificate is not valid for longer than the authority.
        whose: the holder.
        key: the holder's private key.
        now: the time, with a time zone; the certificate is valid from `EARLY` before it.
        days: the days for which it is valid.

    Raises:
        ValueError: a key or a certificate is invalid, or the authority's key and certificate do not belong together.
    """
    issuer, signer, owner = _certificates(authority.certificate)[0], _private(authority.key), _private(key)
    if issuer.public_key() != signer.public_key():
        raise ValueError("the authority's certificate and key do not belong together")
    until = min(now + timedelta(days=days), issuer.not_valid_after_utc)
    name = key_name(whose)
    builder = _builder(_name(name), issuer.subject, owner, x509.random_serial_number(), now, until)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage("digital_signature"), critical=True)
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if isinstance(whose, int):  # nobody dials an observer
        uses.insert(0, ExtendedKeyUsageOID.SERVER_AUTH)
    builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(authority_key, critical=False)
    return _pem(builder.sign(signer, hashes.SHA256()))


def prove(ca: bytes, certificate: bytes, key: bytes, now: datetime) -> Proof:
    """Check that the three files of a peer or an observer are valid and belong together.

    Args:
        ca: one or more certificates of authorities.
        certificate: the holder's own certificate.
        key: the holder's private key.
        now: the time, with a time zone.

    Raises:
        ConfigError: they do not; the message names the file (``ca.pem``, ``cert.pem`` or ``key.pem``) and the reason.
        TransientError: by this box's clock, the certificate is not valid yet.
    """
    own = _read("cert.pem", "certificate", lambda: _certificates(certificate))[0]
    authorities = _read("ca.pem", "certificate", lambda: _certificates(ca))
    private = _read("key.pem", "private key", lambda: serialization.load_pem_private_key(key, password=None))
    if own.public_key() != private.public_key():
        raise ConfigError("cert.pem and key.pem do not belong together")
    if not any(_signed(own, authority) for authority in authorities):
        raise ConfigError("cert.pem is not signed by the authority in ca.pem")
    if now > own.not_valid_after_utc:
        raise ConfigError(f"cert.pem has expired on {own.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    if now < own.not_valid_before_utc:
        begins = f"{own.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        raise TransientError(f"cert.pem is valid from {begins} on, and this box's clock says {now:%Y-%m-%d %H:%M}")
    names = _names(own)
    whose = named_holder(names)
    if whose is None:
        raise ConfigError(f"cert.pem names no peer: it needs the DNS name peer-ID.edgekd, and has {names}")
    return Proof(whose, own.not_valid_after_utc)


def is_authority_key(key: bytes, ca: bytes) -> bool:
    """Whether `key` is the private key of an authority whose certificate is in `ca`; False if it is not a key."""
    try:
        public = _private(key).public_key()
        return any(authority.public_key() == public for authority in _certificates(ca))
    except (ValueError, TypeError):
        return False


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    owner: ec.EllipticCurvePrivateKey,
    serial: int,
    now: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(owner.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(owner.public_key())
        .serial_number(serial)
        .not_valid_before(now - EARLY)
        .not_valid_after(until)
        .add_extension(identifier, critical=False)
    )


def _usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in allowed for use in _USES})


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return found.value.get_values_for_type(x509.DNSName)


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _read(file: str, kind: str, parse: Callable[[], Any]) -> Any:
    try:
        return parse()
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{file} holds no {kind}") from error


def _certificates(pem: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem)


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("no key of an elliptic curve")
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
