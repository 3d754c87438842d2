"""The list of revoked keys in a peer's folder of keys: the same for every transport, read again when it changes."""

import logging
import os
import threading
from pathlib import Path

from edgekd.errors import ConfigError
from edgekd.keys.revocation import revoked
from edgekd.protocol.holders import REVOKED, Holder, spoken

log = logging.getLogger("edgekd")


class RevokedKeys:
    """The list of revoked keys in a folder. Any thread may use it.

    If the file becomes invalid later, there is one warning, and the list from before stays in use. A changed file is
    read only when two calls of `current` have seen it unchanged, since a program may still be writing it.

    Args:
        folder: a peer's folder of keys; None: there are no keys, and so no revoked ones.

    Raises:
        ConfigError: a line of the list names no holder, or the list cannot be read.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._seen: tuple[int, ...] | None = None  # size and times of the file that was read; None: there was none
        self._changed: tuple[int, ...] | None = None  # the stamp of the last look
        self._holders: frozenset[Holder] = frozenset()
        if folder is not None:
            self._changed = self._seen = _stamp(folder)
            self._holders = _read(folder)

    def current(self) -> frozenset[Holder]:
        """The holders (peers and observers) whose keys are shut out now."""
        if self._folder is None:
            return self._holders
        with self._lock:
            before, self._changed = self._changed, _stamp(self._folder)
            if self._changed != self._seen and self._changed == before:
                self._seen = before
                try:
                    self._holders = _read(self._folder)
                except ConfigError as error:
                    log.warning("%s; the keys that were shut out before stay so", error)
                else:
                    listed = ", ".join(sorted(map(spoken, self._holders))) or "nobody"
                    log.info("%s has changed: shut out now: %s", self._folder / REVOKED, listed)
            return self._holders


def _stamp(folder: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(folder / REVOKED)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _read(folder: Path) -> frozenset[Holder]:
    try:
        return revoked(folder)
    except OSError as error:
        raise ConfigError(f"cannot read {folder / REVOKED}: {error.strerror}") from error
