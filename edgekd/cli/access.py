"""Who gets in: what is refused before a peer starts, since it would leave a door open or never work."""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

from edgekd.addresses import address, is_loopback, place
from edgekd.config import ExchangeConfig
from edgekd.errors import ConfigError

log = logging.getLogger("edgekd")

SOON = timedelta(days=30)  # a certificate that ends within is warned of


def key_folder(certs: str | None) -> Path | None:
    """The folder of ``--certs``."""
    return Path(certs).expanduser() if certs is not None else None


def check_addresses(addresses: Iterable[str], certs: str | Path | None) -> None:
    """See whether these can be dialled: "HOST:PORT", or with keys "ID@HOST:PORT".

    Raises:
        ConfigError: one cannot.
    """
    for text in addresses:
        id, _ = place(text)
        if certs is not None and id is None:
            raise ConfigError(f"with --certs say which peer is to be there: ID@{text}, got {text}")


def check_access(exchange: ExchangeConfig, id: int, listen: str | None, peers: Iterable[str]) -> None:
    """See whether peer `id` may listen where it is to, with the keys that it has; warn of what is allowed and unwise.

    Raises:
        ConfigError: it would be open to other boxes without --insecure; the keys will not do, or are another peer's; a
            neighbour that it dials is none that it allows.
    """
    exposed = listen is not None and not is_loopback(address(listen)[0])
    if exchange.certs is not None:
        _check_keys(exchange.certs, id)
    elif exposed and not exchange.insecure:
        raise ConfigError(
            f"--listen {listen} is open to other boxes: give this peer its keys, --certs DIR (`edgekd certs` makes "
            "them), or say --insecure where everybody on the network is trusted"
        )
    elif exposed:
        log.warning("listening on %s without keys: whoever reaches it can read along and teach this peer", listen)
    allowed = exchange.allowed()
    for text in peers:
        wanted, _ = place(text)
        if allowed is not None and wanted not in (None, id, *allowed):
            raise ConfigError(f"--peers names {text}, which --allow {exchange.allow} would refuse: add {wanted} to it")


def _check_keys(certs: str, id: int) -> None:
    folder = key_folder(certs)
    assert folder is not None
    from peer.keys import KeyFiles

    keys = KeyFiles(folder).current()
    if keys.id != id:
        raise ConfigError(f"the keys in {folder} are those of peer {keys.id}, and this is peer {id}: take peer-{id}'s")
    if keys.until - datetime.now(timezone.utc) < SOON:
        renewal = f"`edgekd certs --ids {id} --renew` makes a new one"
        log.warning("the certificate in %s ends on %s: %s", folder, f"{keys.until:%Y-%m-%d %H:%M} UTC", renewal)
