"""A peer's keys: whether they are sound, and whether more of them lie here than should."""

from collections.abc import Iterator
from pathlib import Path

from edgekd.config import ExchangeConfig
from edgekd.doctor.check import Check, examine_and_return
from edgekd.keys.certificates import is_authority_key
from edgekd.paths import expanded
from peer.node.access import check_keys
from peer.transports.grpc.keys import KeyFiles

LONGEST = 2**16  # bytes: no key is larger
READABLE = 0o077  # by the group or by others
SECRETS = ("key.pem", "curve.key_secret")


def keys(exchange: ExchangeConfig, id: int | None) -> tuple[list[Check], int | None]:
    """The checks of the folder of ``--certs``, and whose keys it holds; None: there are none, or they are not sound.

    Args:
        exchange: the settings.
        id: the peer that the keys should be of; None: any.
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
    """A warning where other users of this box can read a secret."""
    for path in (folder / name for name in SECRETS):
        try:
            mode = path.stat().st_mode
        except OSError:  # it is not there, or out of reach: the keys are what is at fault then
            continue
        if mode & READABLE:
            yield Check("secrecy", None, f"other users of this box can read {path}: chmod 600 {path}")


def _authority(folder: Path) -> Check:
    """Whether the authority's private key, which belongs on no peer's box, lies near the peer's own."""
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
    """Files that may hold a key: in the folder, in the one around it, and in ``ca`` of both."""
    for place in (folder, folder / "ca", folder.absolute().parent, folder.absolute().parent / "ca"):
        for path in sorted([*place.glob("*.pem"), *place.glob("*.key")]):
            try:
                with path.open("rb"):
                    yield path
            except OSError:  # out of reach
                continue
