"""Checks of a peer's keys: whether they are valid, and whether other secrets lie on this box that should not."""

from collections.abc import Iterator
from pathlib import Path

from edgekd.config import ExchangeConfig
from edgekd.doctor.check import Check, examine_and_return
from edgekd.keys.certificates import is_authority_key
from edgekd.paths import expanded
from peer.node.access import check_keys
from peer.transports.grpc.keys import KeyFiles

LONGEST = 2**16  # bytes: no key is larger
READABLE = 0o077  # the mode bits of the file's group and of other users
SECRETS = ("key.pem", "curve.key_secret")


def keys(exchange: ExchangeConfig, id: int | None) -> tuple[list[Check], int | None]:
    """Check the keys in the folder of ``--certs``.

    Args:
        exchange: the settings.
        id: the peer that should own the keys; None: any.

    Returns:
        The checks, and the id of the peer that owns the keys. None: there are no keys, or they are invalid.
    """
    if exchange.certs is None:
        why = "no --certs: nothing is encrypted, and nobody proves who it is; `edgekd certs` makes keys"
        return [Check("keys", None, why)], None

    folder = expanded(exchange.certs)

    def look() -> tuple[str, int]:
        owner = check_keys(exchange, id)
        if exchange.transport == "zmq":
            return f"those of peer {owner} in {folder}, which know no end", owner
        return f"those of peer {owner} in {folder}, valid until {KeyFiles(folder).current().until:%Y-%m-%d}", owner

    check, owner = examine_and_return("keys", look)
    return [check, *_readable(folder), _authority(folder)], owner


def _readable(folder: Path) -> Iterator[Check]:
    """A warning for each secret file that other users of this box can read."""
    for path in (folder / name for name in SECRETS):
        try:
            mode = path.stat().st_mode
        except OSError:  # missing or not accessible, which the check of the keys reports
            continue
        if mode & READABLE:
            yield Check("secrecy", None, f"other users of this box can read {path}: chmod 600 {path}")


def _authority(folder: Path) -> Check:
    """Check that the private key of the group's authority, which must be on no peer's box, is not near the peer's."""
    name = "authority"
    try:
        ca = (folder / "ca.pem").read_bytes()
    except OSError:
        return Check(name, None, f"there is no {folder / 'ca.pem'} to compare keys with")
    for path in _near(folder):
        if path.stat().st_size <= LONGEST and is_authority_key(path.read_bytes(), ca):
            why = "whoever has it can let anybody into the group; keep it where you make keys, and on no peer's box"
            return Check(name, None, f"the group's authority is within reach, {path}: {why}")
    return Check(name, True, "its private key is not near the peer's")


def _near(folder: Path) -> Iterator[Path]:
    """Readable files that may hold a key: in the folder, in its parent, and in the folder ``ca`` of both."""
    for place in (folder, folder / "ca", folder.absolute().parent, folder.absolute().parent / "ca"):
        for path in sorted([*place.glob("*.pem"), *place.glob("*.key")]):
            try:
                with path.open("rb"):
                    yield path
            except OSError:  # not readable
                continue
