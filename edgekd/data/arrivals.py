"""The pictures that paths name, and those that appear in a folder while somebody writes them."""

import glob
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from edgekd.data.pictures import is_of_system, suffixes
from edgekd.errors import ConfigError
from edgekd.paths import expanded

log = logging.getLogger("edgekd")

SETTLED = 2  # scans in which a file has the same size and time: it is taken to be whole
TRIES = 10  # as many scans later a file that cannot be read is given up: its writer may only have paused
REMEMBERED = 100_000  # the most pictures to remember of folders that are gone, the newest; they take some 30 MB

Stamp: TypeAlias = tuple[int, int]  # size in bytes, and time of the last change in nanoseconds


def find_pictures(arguments: Iterable[str]) -> list[Path]:
    """The picture files that are named, in this order, each once.

    What leads nowhere is taken to be a file: reading it will tell. A folder without pictures is warned of.

    Args:
        arguments: picture files of any name; folders, which are searched with their subfolders; patterns such as
            ``photos/**/*.jpg``.

    Raises:
        ConfigError: nothing but folders without pictures is named.
    """
    found: dict[Path, Path] = {}  # by where links lead to
    empty = []
    for argument in arguments:
        path = expanded(argument)
        fitting = [] if path.exists() else [Path(p) for p in sorted(glob.glob(str(path), recursive=True))]
        for match in fitting or [path]:
            pictures = pictures_under(match) if match.is_dir() else [match]
            if not pictures:
                empty.append(f"there are no pictures in {match}")
            for picture in pictures:
                found.setdefault(picture.resolve(), picture)
    if empty and not found:
        raise ConfigError(empty[0])
    for each in empty:
        log.warning("%s", each)
    return list(found.values())


def pictures_under(folder: Path) -> list[Path]:
    """The picture files in `folder` and its subfolders, known by their suffixes, sorted by name.

    Hidden files and folders, and those that systems leave everywhere, are passed over.

    Raises:
        OSError: the folder cannot be read. Subfolders that cannot be read are warned of.
    """
    return [Path(entry.path) for entry in _entries(folder)]


def stamps(folder: Path, *, deep: bool = True) -> dict[Path, Stamp]:
    """The pictures in `folder`, with `deep` in its subfolders too, and what tells whether they have changed.

    Raises:
        OSError: the folder cannot be read.
    """
    found = {}
    for entry in _entries(folder, deep=deep):
        try:
            about = entry.stat()
        except OSError:  # it has gone since, or may not be looked at
            continue
        found[Path(entry.path)] = (about.st_size, about.st_mtime_ns)
    return found


def _entries(
    folder: Path, above: Set[tuple[int, int]] = frozenset(), *, deep: bool = True
) -> Iterator["os.DirEntry[str]"]:
    about = folder.stat()
    here = (about.st_dev, about.st_ino)
    if here in above:  # a link to a folder that holds it
        return
    with os.scandir(folder) as entries:
        listed = sorted((each for each in entries if not is_of_system(each)), key=lambda each: each.name)
    for entry in listed:
        try:
            if entry.is_dir():
                if deep:
                    yield from _entries(Path(entry.path), above | {here})
            elif os.path.splitext(entry.name)[1].lower() in suffixes() and entry.is_file():
                yield entry
        except OSError as error:
            _warn_once(entry.path, error.strerror)


@lru_cache
def _warn_once(path: str, why: str) -> None:
    """A watched folder is looked at again and again."""
    log.warning("cannot read %s: %s", path, why)


class Arrivals:
    """Decides which pictures of a watched folder are new and whole. It does no I/O.

    Args:
        there: `stamps` of the pictures that are not new.
    """

    def __init__(self, there: Mapping[Path, Stamp]) -> None:
        self._seen = dict(there)
        self._waiting: dict[Path, tuple[Stamp, int]] = {}  # and in how many scans it was so

    def look(self, there: Mapping[Path, Stamp], wanted: Set[Path] | None = None) -> Sequence[tuple[Path, bool]]:
        """The pictures to read after this scan, the oldest first; and whether this is the last time.

        A picture comes again at each scan until `done` is called, or for the last time.

        Args:
            there: `stamps` of the folder.
            wanted: those of them that are to be read if they are new; None: all.
        """
        due = []
        for path, stamp in there.items():
            if self.has_seen(path, stamp) or not (wanted is None or path in wanted):
                self._waiting.pop(path, None)
                continue
            before, scans = self._waiting.get(path, (stamp, 0))
            scans = scans + 1 if before == stamp else 1
            self._waiting[path] = (stamp, scans)
            if scans >= SETTLED:
                due.append((path, scans >= SETTLED + TRIES))
        self._forget_missing(there)
        self._waiting = {path: each for path, each in self._waiting.items() if path in there}
        for path, last in due:
            if last:
                self.done(path)
        return sorted(due, key=lambda each: (there[each[0]][1], each[0]))

    def done(self, path: Path) -> None:
        """The picture was read as `look` last saw it; it is due again only if it changes."""
        if path in self._waiting:
            self._seen[path], _ = self._waiting.pop(path)

    def has_seen(self, path: Path, stamp: Stamp) -> bool:
        """Whether the picture as it is now is not new: it has been read, or given up."""
        return self._seen.get(path) == stamp

    def forget(self, paths: Iterable[Path]) -> None:
        """These pictures are new when they are there again."""
        for path in paths:
            self._seen.pop(path, None)

    def _forget_missing(self, there: Mapping[Path, Stamp]) -> None:
        """Forget what has gone, unless its folder has: that may be on a disk, and not new when the disk is back."""
        missing = [path for path in self._seen if path not in there]
        folders = {path.parent for path in there} if missing else set()
        away = [path for path in missing if path.parent not in folders]
        self.forget({*missing} - {*away[-REMEMBERED:]})
