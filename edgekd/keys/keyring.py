"""The folder that ``edgekd certs`` keeps: an authority, and for each peer and observer the files for its box.

```
ca/cert.pem, key.pem       the authority; whoever has its key can admit anybody, so it is never copied to a box
ca/revoked.txt             the holders whose keys are revoked; each peer that is left has a copy
peer-I/ca.pem              the authorities that peer I trusts
peer-I/cert.pem, key.pem   by which peer I proves its id
peer-I/curve.key_secret    the same for ZeroMQ, which has no authorities, so each peer holds the others' public keys:
peer-I/curve/J.key
observer-NAME/             the same for an observer, whose public key is curve/observer-NAME.key
```
"""

import contextlib
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
from edgekd.keys.revocation import revoked
from edgekd.protocol.holders import REVOKED, Holder, folder_name, holder, revoked_text, spoken

SECRET, OPEN = 0o600, 0o644  # file modes
PRIVATE = 0o700  # mode of folders with private keys
_OWN = ("key.pem", "cert.pem", "curve.key_secret")  # files of a peer or an observer


def make_keys(folder: Path, whose: Sequence[Holder], now: datetime, days: int, *, renew: bool) -> list[Holder]:
    """Make the keys and certificates that are missing for these holders; existing ones stay, unless `renew` is set.

    Args:
        folder: the folder of the group's keys; it is made if it does not exist.
        whose: the peers and observers.
        now: the time, with a time zone.
        days: the days for which the certificates are valid.
        renew: make new keys and certificates for `whose`, signed by the same authority.

    Returns:
        The other holders whose folders have changed: their boxes need the new public keys of `whose`.

    Raises:
        ConfigError: the authority's key is missing, a file is invalid, a holder is revoked, or a holder to `renew` has
            no keys.
        OSError: a file cannot be read or written.
    """
    _check_not_revoked(folder, whose)
    if renew:
        _check_known(folder, whose)
    authority = _authority(folder / "ca", now)
    for each in whose:
        _make(folder / folder_name(each), each, authority, now, days, renew)
    _copy_revoked(folder)
    return _share(folder, whose)


def revoke(folder: Path, whose: Sequence[Holder]) -> list[Path]:
    """Revoke the keys of these holders: add them to the list, and copy the list to each peer that is left.

    Args:
        folder: a folder that `make_keys` has made.
        whose: the peers and observers.

    Returns:
        The copies of the list; each must be brought to its box.

    Raises:
        ConfigError: the folder holds no keys of a group, or its list is invalid.
        OSError: a file cannot be read or written.
    """
    if not (folder / "ca" / "cert.pem").exists():
        raise ConfigError(f"{folder} holds no keys of a group; name with --out the folder that they are in")
    path, listed = folder / "ca" / REVOKED, revoked(folder / "ca")
    new = [each for each in whose if each not in listed]
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    write_atomically(path, [revoked_text(before, new).encode()], OPEN)
    return _copy_revoked(folder)


def _check_not_revoked(folder: Path, whose: Sequence[Holder]) -> None:
    """Check that no holder is revoked. The list names holders, so their new keys would be refused, too."""
    gone = revoked(folder / "ca")
    if out := [each for each in whose if each in gone]:
        listed = ", ".join(map(spoken, out))
        raise ConfigError(f"the keys of {listed} are shut out, by {folder / 'ca' / REVOKED}: choose another id or name")


def _copy_revoked(folder: Path) -> list[Path]:
    """Copy the list, if there is one, into the folder of every peer that is left; returns the copies.

    Observers need no copy.
    """
    path = folder / "ca" / REVOKED
    if not path.exists():
        return []
    content, gone = path.read_bytes(), revoked(folder / "ca")
    owners = [owner for owner, _ in _secrets(folder) if isinstance(owner, int) and owner not in gone]
    copies = [folder / folder_name(owner) / REVOKED for owner in owners]
    for copy in copies:
        if not copy.exists() or copy.read_bytes() != content:
            write_atomically(copy, [content], OPEN)
    return copies


def _check_known(folder: Path, whose: Sequence[Holder]) -> None:
    """Check that each of these holders has keys to renew; some of its files are enough."""
    new = [each for each in whose if not any((folder / folder_name(each) / name).exists() for name in _OWN)]
    if new:
        ids = ",".join(str(each) for each in new if isinstance(each, int))
        flags = [f"--ids {ids}"] if ids else []
        flags += [f"--observer {each.partition('-')[2]}" for each in new if isinstance(each, str)]
        listed = ", ".join(map(spoken, new))
        raise ConfigError(
            f"{folder} holds no keys of {listed} to renew: `edgekd certs {' '.join(flags)}`, without --renew, makes "
            "the first ones; or name with --out the folder that the group's keys are in"
        )


def _authority(folder: Path, now: datetime) -> Authority:
    """The authority in `folder`; if there is none, a new one is made."""
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


def _make(folder: Path, whose: Holder, authority: Authority, now: datetime, days: int, renew: bool) -> None:
    """Make the files of one holder.

    If only some are there, after an interruption, the others are made to fit them.
    """
    _make_private(folder)
    key, certificate, pair = (folder / name for name in _OWN)

    def write(path: Path, make: Callable[[], bytes], mode: int) -> None:
        if renew or not path.exists():
            try:
                write_atomically(path, [make()], mode)
            except ValueError as error:
                raise ConfigError(f"cannot make {path} out of the files beside it and in ca: {error}") from error

    write(key, make_key, SECRET)
    write(certificate, lambda: make_certificate(authority, whose, key.read_bytes(), now, days), OPEN)
    write(pair, make_curve_pair, SECRET)
    if not (folder / "ca.pem").exists():  # an existing file may by now list a second authority
        write_atomically(folder / "ca.pem", [authority.certificate], OPEN)


def _share(folder: Path, whose: Sequence[Holder]) -> list[Holder]:
    """Put the public keys of all into the folders of all; returns the other holders whose folders have changed."""
    public: dict[Holder, bytes] = {}
    for owner, path in _secrets(folder):
        try:
            public[owner] = curve_public(path.read_bytes())
        except ValueError as error:
            raise ConfigError(f"{path} is no key of a peer: {error}") from error
    told: list[Holder] = []
    for owner in public:
        box = folder / folder_name(owner) / "curve"
        box.mkdir(exist_ok=True)
        for each, key in public.items():
            path = box / f"{each}.key"
            if not path.exists() or path.read_bytes() != key:
                write_atomically(path, [key], OPEN)
                told.append(owner)
    return [owner for owner in dict.fromkeys(told) if owner not in whose]


def _secrets(folder: Path) -> list[tuple[Holder, Path]]:
    """All holders that have a pair of CURVE keys in `folder`, and its file; peers by id, then observers."""
    found: list[tuple[Holder, Path]] = []
    for path in folder.glob("*-*/curve.key_secret"):
        with contextlib.suppress(ConfigError):  # any other folder is a copy that somebody keeps
            if folder_name(owner := holder(path.parent.name)) == path.parent.name:
                found.append((owner, path))
    return sorted(found, key=lambda each: (isinstance(each[0], str), each[0]))


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
