"""Scans the private folder for new pictures while the peer trains, in its own thread."""

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
AT_ONCE = 1000  # pictures that are read before the peer trains on them; limits the memory and the delay
STOP_WITHIN = 1.0  # seconds; reading a picture is not interrupted


def first_look(config: DataConfig) -> dict[Path, Stamp]:
    """List the pictures of the private folder with their sizes and times. Call it before they are read.

    Returns:
        An empty dictionary if there is no such folder.
    """
    with contextlib.suppress(OSError):  # `load_peer_data` reports this error
        return dict(look_through(folder_of(config.private or "")).pictures)
    return {}


class Scanner:
    """Keeps the data of a peer equal to its private folder. Used as a context manager, which runs the thread.

    The training thread reads `data` before each step.

    Args:
        data: as it was read at the start.
        config: with `private` and `rescan`.
        there: the result of `first_look`, from before `data` was read.
        seed: `held_out.own_seed` of the peer.
    """

    def __init__(self, data: PeerData, config: DataConfig, there: Mapping[Path, Stamp], seed: int) -> None:
        assert config.private is not None  # `rescan` needs it
        assert config.rescan is not None
        self._data, self._seed, self._every = data, seed, config.rescan
        self._root, self._own_evaluation = folder_of(config.private), config.eval is None
        self._size = data.private.images.shape[-1]
        read = in_memory(data, own_evaluation=self._own_evaluation) | data.unreadable
        self._changes = Changes(there, read, data.classes, config.keep)
        self._troubles: Mapping[Path, str] = {}  # those that were logged
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="scanner", daemon=True)

    @property
    def data(self) -> PeerData:
        """The newest data. It is a new object if and only if it has changed.

        Raises:
            BaseException: the error that has ended the thread, a bug.
        """
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
        """Scan the folder once and take up the changes; return what prevented that, by folder."""
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
        """Read pictures; return those that could be read, and the files that will not be tried again."""
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
        """Log each problem once, and again when it is over."""
        for folder, why in troubles.items():
            if self._troubles.get(folder) != why:
                log.warning("%s: %s", folder, why)
        for folder in self._troubles.keys() - troubles.keys():
            log.info("%s is read as before", folder)
        self._troubles = troubles
