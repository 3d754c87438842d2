"""The folder that ``edgekd certs`` keeps: an authority, and for each peer a folder with all that its box needs.

```
ca/cert.pem, key.pem       the authority; its key lets anybody in, and leaves this folder for no box
peer-I/ca.pem              who is believed
peer-I/cert.pem, key.pem   who peer I is
peer-I/curve.key_secret    the same for ZeroMQ, which knows no authority, so each peer holds the others' keys:
peer-I/curve/J.key
```
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from edgekd.errors import ConfigError
from edgekd.files.atomic import write_atomically
from edgekd.keys.certificates import (
    Authority,
    make_authority,
    make_certificate,
    make_key,
)
from edgekd.keys.curve import curve_public, make_curve_pair

SECRET, OPEN = 0o600, 0o644  # modes of files
PRIVATE = 0o700  # mode of folders that hold private keys
_OWN = ("key.pem", "cert.pem", "curve.key_secret")  # of a peer


def make_keys(folder: Path, ids: Sequence[int], now: datetime, days: int, *, renew: bool) -> list[int]:
    """Make what is missing for these peers; nothing that is there is overwritten, but theirs with `renew`.

    Args:
        folder: made if it is not there.
        ids: of the peers.
        now: with a time zone.
        days: for which the certificates are valid.
        renew: new keys and certificates for `ids`, signed by the same authority.

    Returns:
        The other peers, whose folders have got a public key of `ids` that their boxes do not have.

    Raises:
        ConfigError: the authority's key is not there, a file is none, or a peer to `renew` has no keys.
        OSError: something cannot be read or written.
    """
    if renew:
        _check_known(folder, ids)
    authority = _authority(folder / "ca", now)
    for id in ids:
        _peer(folder / f"peer-{id}", id, authority, now, days, renew)
    return _share(folder, ids)


def _check_known(folder: Path, ids: Sequence[int]) -> None:
    """See whether each of these peers has keys to renew, if only some of its files."""
    new = [id for id in ids if not any((folder / f"peer-{id}" / name).exists() for name in _OWN)]
    if new:
        listed = ",".join(map(str, new))
        raise ConfigError(
            f"{folder} holds no keys of peer {listed} to renew: `edgekd certs --ids {listed}`, without --renew, makes "
            "the first ones; or name with --out the folder that the group's keys are in"
        )


def _authority(folder: Path, now: datetime) -> Authority:
    """The one in `folder`; a new one, if that is empty."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    if not certificate.exists() and not key.exists():
        _make_private(folder)
        new = make_authority(now)
        write_atomically(key, [new.key], SECRET)
        write_atomically(certificate, [new.certificate], OPEN)
    for path in (certificate, key):
        if not path.exists():
            raise ConfigError(f"{path} is missing: put it back, since the peers' boxes believe no other authority")
    return Authority(certificate.read_bytes(), key.read_bytes())


def _peer(folder: Path, id: int, authority: Authority, now: datetime, days: int, renew: bool) -> None:
    """A peer's own files; where only some are there, since it was interrupted, the others are made to go with them."""
    _make_private(folder)
    key, certificate, pair = (folder / name for name in _OWN)

    def write(path: Path, make: Callable[[], bytes], mode: int) -> None:
        if renew or not path.exists():
            try:
                write_atomically(path, [make()], mode)
            except ValueError as error:
                raise ConfigError(f"cannot make {path} out of the files beside it and in ca: {error}") from error

    write(key, make_key, SECRET)
    write(certificate, lambda: make_certificate(authority, id, key.read_bytes(), now, days), OPEN)
    write(pair, make_curve_pair, SECRET)
    if not (folder / "ca.pem").exists():  # it may believe a second authority by now
        write_atomically(folder / "ca.pem", [authority.certificate], OPEN)


def _share(folder: Path, ids: Sequence[int]) -> list[int]:
    """Have every peer's public key in every peer's folder; which others got a new one."""
    public: dict[int, bytes] = {}
    for path in sorted(folder.glob("peer-*/curve.key_secret")):
        name = path.parent.name.removeprefix("peer-")
        if not (name.isascii() and name.isdecimal()):  # a copy that somebody keeps
            continue
        try:
            public[int(name)] = curve_public(path.read_bytes())
        except ValueError as error:
            raise ConfigError(f"{path} is no key of a peer: {error}") from error
    told: list[int] = []
    for owner in sorted(public):
        box = folder / f"peer-{owner}" / "curve"
        box.mkdir(exist_ok=True)
        for id, key in public.items():
            path = box / f"{id}.key"
            if not path.exists() or path.read_bytes() != key:
                write_atomically(path, [key], OPEN)
                told.append(owner)
    return [owner for owner in dict.fromkeys(told) if owner not in ids]


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
