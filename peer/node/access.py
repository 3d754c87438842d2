"""Checks before a peer starts: settings of keys and addresses that are unsafe, or that could never work."""

import logging
import socket
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

from edgekd.config import ExchangeConfig
from edgekd.errors import ConfigError
from edgekd.paths import expanded
from edgekd.protocol.addresses import is_loopback, parse_address, place
from edgekd.protocol.holders import Holder, spoken
from peer.transports.revoked import RevokedKeys

log = logging.getLogger("edgekd")

SOON = timedelta(days=30)  # the log warns of a certificate that expires within this time


def key_folder(certs: str | None) -> Path | None:
    """The folder of ``--certs`` as a path; None: no keys.

    Raises:
        ConfigError: it is the folder that contains the folders of all peers.
    """
    if certs is None:
        return None
    folder = expanded(certs)
    if owners := [*sorted(folder.glob("peer-*")), *sorted(folder.glob("observer-*"))]:
        raise ConfigError(f"{folder} holds the keys of a whole group: take those of one, such as {owners[0]}")
    return folder


def check_addresses(addresses: Iterable[str], certs: str | Path | None) -> None:
    """Check the form of addresses to dial: "HOST:PORT" or "ID@HOST:PORT"; with keys the id is needed.

    Raises:
        ConfigError: an address has another form.
    """
    for text in addresses:
        id, _ = place(text)
        if certs is not None and id is None:
            raise ConfigError(f"with --certs say which peer is to be there: ID@{text}, got {text}")


def check_access(exchange: ExchangeConfig, id: int, listen: str | None, peers: Iterable[str]) -> None:
    """Check the keys, the address to listen on and the neighbours of peer `id`; log warnings of what is unwise.

    Args:
        exchange: the settings.
        id: of the peer.
        listen: "HOST:PORT"; None: it does not listen.
        peers: "HOST:PORT" or "ID@HOST:PORT" of the neighbours to dial.

    Raises:
        ConfigError: without keys and without --insecure, other boxes could connect; the keys are invalid or another
            peer's; or a neighbour to dial is not allowed.
    """
    if exchange.certs is not None:
        if listen is not None:
            parse_address(listen)
        check_keys(exchange, id)
    else:
        check_exposure(exchange, listen)
    check_allowed(exchange, id, peers)


def check_exposure(exchange: ExchangeConfig, listen: str | None) -> None:
    """Check that a peer without keys may listen on "HOST:PORT" (None: nowhere); log a warning if that is unwise.

    Raises:
        ConfigError: other boxes could connect, and --insecure is not given.
    """
    exposed = listen is not None and not _is_on_loopback(parse_address(listen)[0])
    if exposed and not exchange.insecure:
        raise ConfigError(
            f"--listen {listen} is open to other boxes: give this peer its keys, --certs DIR (`edgekd certs` makes "
            "them), or say --insecure where everybody on the network is trusted"
        )
    elif exposed:
        log.warning("listening on %s without keys: whoever reaches it can read along and teach this peer", listen)


def check_allowed(exchange: ExchangeConfig, id: int | None, peers: Iterable[str]) -> None:
    """Check that ``--allow`` permits all neighbours that peer `id` dials (None: the id is not known).

    Raises:
        ConfigError: a neighbour to dial is not allowed.
    """
    allowed = exchange.allowed()
    for text in peers:
        wanted, _ = place(text)
        if allowed is not None and wanted not in (None, id, *allowed):
            raise ConfigError(f"--peers names {text}, which --allow {exchange.allow} would refuse: add {wanted} to it")


def _is_on_loopback(host: str) -> bool:
    """Whether `host` is a loopback address, or a name of loopback addresses only, as often in /etc/hosts."""
    if is_loopback(host):
        return True
    try:
        return all(is_loopback(str(where[0])) for *_, where in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except OSError:  # the name is unknown
        return False


def check_keys(exchange: ExchangeConfig, id: int | None) -> int:
    """Check the keys in the folder of ``--certs``; log a warning if a certificate expires soon.

    Args:
        exchange: the settings; `certs` must not be None.
        id: the peer that must own the keys; None: any.

    Returns:
        The id of the peer that owns the keys.

    Raises:
        ConfigError: the keys are invalid, another peer's or an observer's; or the list of revoked keys is invalid.
    """
    folder = key_folder(exchange.certs)
    assert folder is not None  # the caller has checked it
    owner = _owner_by_curve(folder) if exchange.transport == "zmq" else _owner_by_tls(folder)
    RevokedKeys(folder)
    if not isinstance(owner, int):
        why = "and an observer may ask peers for their status, but be none"
        raise ConfigError(f"the keys in {folder} are those of {spoken(owner)}, {why}: take the folder of a peer")
    if id not in (None, owner):
        raise ConfigError(f"the keys in {folder} are those of peer {owner}, and this is peer {id}: take peer-{id}'s")
    return owner


def _owner_by_tls(folder: Path) -> Holder:
    from peer.transports.grpc.keys import KeyFiles

    keys = KeyFiles(folder).current()
    if keys.until - datetime.now(timezone.utc) < SOON:
        renewal = f"`edgekd certs --ids {keys.holder} --renew` makes a new one"
        log.warning("the certificate in %s ends on %s: %s", folder, f"{keys.until:%Y-%m-%d %H:%M} UTC", renewal)
    return keys.holder


def _owner_by_curve(folder: Path) -> Holder:
    from peer.transports.zmq.keys import CurveKeys

    keys = CurveKeys(folder)
    owner = keys.holder(keys.own().public)
    if owner is None:
        raise ConfigError(f"no key in {folder / 'curve'} is the public one of {folder / 'curve.key_secret'}")
    return owner
