"""The TLS keys of a peer or an observer: a folder made by ``edgekd certs``, read again when its files change."""

import logging
import threading
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgekd.errors import ConfigError
from edgekd.keys.certificates import prove
from edgekd.protocol.holders import Holder, spoken

log = logging.getLogger("edgekd")

FILES = ("ca.pem", "cert.pem", "key.pem")
REMEDY = "`edgekd certs` makes this folder, and with --renew anew"


@dataclass(frozen=True, slots=True)
class TlsKeys:
    """The identity of a peer or an observer and the authority that it trusts, as PEM."""

    holder: Holder
    ca: bytes
    certificate: bytes
    key: bytes
    until: datetime  # the end of the certificate's validity


class KeyFiles:
    """The TLS keys in a folder. Any thread may use them.

    If the files become invalid later (half written, expired, or of another peer), there is one warning, and the keys
    that were read before stay in use. So a failed rotation of keys disconnects nobody.

    Args:
        folder: of this peer.

    Raises:
        ConfigError: a file is missing, unreadable or expired, or the files do not match.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._seen = self._read()
        self._keys = self._prove(self._seen)
        self._warned = ""

    def current(self) -> TlsKeys:
        """The keys for a new connection."""
        with self._lock:
            try:
                found = self._read()
                if found != self._seen:
                    self._keys, self._seen, self._warned = self._successor(found), found, ""
            except ConfigError as error:
                if str(error) != self._warned:
                    log.warning("%s; going on with the keys from before", error)
                    self._warned = str(error)
            return self._keys

    def _successor(self, found: tuple[bytes, ...]) -> TlsKeys:
        keys = self._prove(found)
        if keys.holder != self._keys.holder:
            now, before = spoken(keys.holder), spoken(self._keys.holder)
            raise ConfigError(f"{self.folder} holds the keys of {now} now, not of {before}")
        log.info("new keys in %s, valid until %s", self.folder, f"{keys.until:%Y-%m-%d}")
        return keys

    def _read(self) -> tuple[bytes, ...]:
        return tuple(_bytes(self.folder / name) for name in FILES)

    def _prove(self, found: tuple[bytes, ...]) -> TlsKeys:
        ca, certificate, key = found
        try:
            proof = prove(ca, certificate, key, datetime.now(timezone.utc))
        except ConfigError as error:
            raise ConfigError(f"the keys in {self.folder} will not do: {error}; {REMEDY}") from error
        return TlsKeys(proof.holder, ca, certificate, key, proof.until)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; it must be there for this user: {REMEDY}") from error
