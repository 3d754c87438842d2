"""The private folder of a box that collects while it trains, looked at and read in a thread of its own."""

import contextlib
import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import torch

from edgekd.config import DataConfig
from edgekd.data.arrivals import Stamp
from edgekd.data.datasets import PeerData, folder_of
from edgekd.data.images import IN_MEMORY, fit
from edgekd.data.pictures import UnreadableError, open_picture
from edgekd.data.private_folder import Changes, Difference, look_through
from edgekd.data.sources import Labelled, unknown_class
from edgekd.data.taking_up import Change, in_memory, take_up
from edgekd.errors import ConfigError
from peer.node.out_of_memory import is_out_of_memory

log = logging.getLogger("edgekd")

GOES_ON = "training goes on with the pictures in memory"
AT_ONCE = 1000  # pictures that are read before they are trained on: bounds the memory, and the wait of the first one
STOP_WITHIN = 1.0  # seconds; a picture is read to its end


def first_look(config: DataConfig) -> dict[Path, Stamp]:
    """The pictures of the private folder, to be asked for before they are read; none if it is not there."""
    with contextlib.suppress(OSError):  # `load_peer_data` tells of it
        return dict(look_through(folder_of(config.private or "")).pictures)
    return {}


class Scanner:
    """Keeps the data of a peer as its private folder is. The training thread takes `data` whenever it likes.

    Args:
        data: as it was read at the start.
        config: with `rescan`.
        there: `first_look`, from before `data` was read.
        seed: `held_out.own_seed` of the peer.
    """

    def __init__(self, data: PeerData, config: DataConfig, there: Mapping[Path, Stamp], seed: int) -> None:
        assert config.private is not None  # a setting of it
        assert config.rescan is not None
        self._data, self._seed, self._every = data, seed, config.rescan
        self._root, self._own_evaluation = folder_of(config.private), config.eval is None
        self._size = data.private.images.shape[-1]
        read = in_memory(data, own_evaluation=self._own_evaluation) | data.unreadable
        self._changes = Changes(there, read, data.classes, config.keep)
        self._troubles: Mapping[Path, str] = {}  # that have been told of
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="scanner", daemon=True)

    @property
    def data(self) -> PeerData:
        """The newest data; another object if and only if it has changed. A bug that ended the thread is raised here."""
        if self._failure is not None:
            raise self._failure
        return self._data

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(STOP_WITHIN)

    def _run(self) -> None:
        try:
            while not self._over.wait(self._every):
                self._tell(self._scan())
        except BaseException as error:
            self._failure = error

    def _scan(self) -> Mapping[Path, str]:
        """Look once, and take up what has changed; what stood in the way, by folder."""
        try:
            listing = look_through(self._root)
            if not listing.pictures and not listing.unread:  # an unmounted disk leaves an empty folder
                return {self._root: f"there are no pictures in it; {GOES_ON}"}
            difference = self._changes.look(listing, in_memory(self._data, own_evaluation=self._own_evaluation))
            self._take_up(difference)
        except (OSError, ConfigError) as error:
            return {self._root: f"{getattr(error, 'strerror', None) or error}; {GOES_ON}"}
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return {self._root: f"not enough memory for its pictures, which --keep would bound; {GOES_ON}"}
        troubles = {folder: f"{why}; {GOES_ON}" for folder, why in listing.unread.items()}
        if difference.removed & in_memory(self._data, own_evaluation=self._own_evaluation):
            troubles[self._root] = f"all pictures to train on, or all to evaluate on, have left it; {GOES_ON}"
        elif self._data.private.images.nbytes > IN_MEMORY:
            most = IN_MEMORY // (3 * self._size**2)
            why = f"its pictures do not fit into {IN_MEMORY >> 20} MiB: they are in a file, which is written anew when"
            troubles[self._root] = f"{why} some come or go; --keep {most} would prevent that"
        return troubles

    def _take_up(self, difference: Difference) -> None:
        for name in difference.unknown:
            log.warning("%s: left out", unknown_class(self._root, [name], self._data.classes))
        for start in range(0, max(1, len(difference.due)), AT_ONCE):
            added, unreadable = self._read(difference.due[start : start + AT_ONCE])
            if self._over.is_set():
                return
            held = in_memory(self._data, own_evaluation=self._own_evaluation) | {*added.files}
            older = self._changes.make_room(held - difference.removed - unreadable)
            change = Change(added=added, removed=difference.removed, older=older, unreadable=unreadable)
            data, taken = take_up(self._data, change, seed=self._seed, own_evaluation=self._own_evaluation)
            for file in added.files:
                self._changes.done(file)
            if said := str(taken):
                now = f"{len(data.private.labels)} to train on, {len(data.evaluation.labels)} to evaluate on"
                log.info("%s: %s; now %s", self._root, said, now)
            self._data = data

    def _read(self, due: Sequence[tuple[Path, bool]]) -> tuple[Labelled, set[Path]]:
        """The pictures that can be read, and the files that are given up."""
        images, files, unreadable = [], [], set()
        for path, last in due:
            if self._over.is_set():
                break
            try:
                images.append(fit(open_picture(path, self._size), self._size))
            except UnreadableError as error:
                if last:
                    unreadable.add(path)
                    log.warning("cannot read %s: skipped", error)
            else:
                files.append(path)
        labels = torch.tensor([self._data.classes.index(file.parent.name) for file in files], dtype=torch.int64)
        pixels = torch.stack(images) if images else torch.empty((0, 3, self._size, self._size), dtype=torch.uint8)
        return Labelled(images=pixels, labels=labels, files=tuple(files)), unreadable

    def _tell(self, troubles: Mapping[Path, str]) -> None:
        """Say once what stands in the way, and when it no longer does."""
        for folder, why in troubles.items():
            if self._troubles.get(folder) != why:
                log.warning("%s: %s", folder, why)
        for folder in self._troubles.keys() - troubles.keys():
            log.info("%s is read as before", folder)
        self._troubles = troubles
