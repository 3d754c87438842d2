"""Finding picture files, and deciding when a picture that appears in a watched folder is complete."""

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

SETTLED = 2  # scans in which size and time of a file are the same; then the file counts as complete
TRIES = 10  # after so many more scans, a file that cannot be read is given up: its writer may only pause
REMEMBERED = 100_000  # largest number of pictures to remember of folders that are gone; they take about 30 MB

Stamp: TypeAlias = tuple[int, int]  # size in bytes, and time of the last change in nanoseconds


def find_pictures(arguments: Iterable[str]) -> list[Path]:
    """The picture files that the arguments name, in this order, each once.

    A path that does not exist counts as a file; reading it will report the error. A folder without pictures causes a
    warning.

    Args:
        arguments: picture files with any name; folders, which are searched with their subfolders; patterns such as
            ``photos/**/*.jpg``.

    Raises:
        ConfigError: only folders without pictures are named.
    """
    found: dict[Path, Path] = {}  # by the path after following links
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
    """The picture files in `folder` and its subfolders, recognised by their suffixes, sorted by name.

    Hidden files and folders are skipped, and so are those that operating systems leave behind.

    Raises:
        OSError: the folder cannot be read. Subfolders that cannot be read cause a warning.
    """
    return [Path(entry.path) for entry in _entries(folder)]


def stamps(folder: Path, *, deep: bool = True) -> dict[Path, Stamp]:
    """The pictures in `folder`, each with its size and time of change.

    Args:
        folder: the folder.
        deep: whether to search its subfolders, too.

    Raises:
        OSError: the folder cannot be read.
    """
    found = {}
    for entry in _entries(folder, deep=deep):
        try:
            about = entry.stat()
        except OSError:  # it was deleted meanwhile, or this user may not read it
            continue
        found[Path(entry.path)] = (about.st_size, about.st_mtime_ns)
    return found


def _entries(
    folder: Path, above: Set[tuple[int, int]] = frozenset(), *, deep: bool = True
) -> Iterator["os.DirEntry[str]"]:
    about = folder.stat()
    here = (about.st_dev, about.st_ino)
    if here in above:  # a link to a folder that contains it
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
    """Log a warning only once, since a watched folder is scanned again and again."""
    log.warning("cannot read %s: %s", path, why)


class Arrivals:
    """Decides which pictures of a watched folder are new and complete. It does no I/O.

    Args:
        there: the `stamps` of the pictures that are not new.
    """

    def __init__(self, there: Mapping[Path, Stamp]) -> None:
        self._seen = dict(there)
        self._waiting: dict[Path, tuple[Stamp, int]] = {}  # with the number of scans in which the stamp was the same

    def look(self, there: Mapping[Path, Stamp], wanted: Set[Path] | None = None) -> Sequence[tuple[Path, bool]]:
        """The pictures to read after this scan, the oldest first, each with whether this is the last try.

        A picture is returned at each scan until `done` is called for it, or until its last try.

        Args:
            there: the `stamps` of the folder.
            wanted: the pictures to read if they are new; None: all.
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
        """Note that the picture was read as `look` last saw it. It is returned again only if it changes."""
        if path in self._waiting:
            self._seen[path], _ = self._waiting.pop(path)

    def has_seen(self, path: Path, stamp: Stamp) -> bool:
        """Whether the picture, in its present state, was already read or given up."""
        return self._seen.get(path) == stamp

    def forget(self, paths: Iterable[Path]) -> None:
        """Forget these pictures, so that they count as new if they appear again."""
        for path in paths:
            self._seen.pop(path, None)

    def _forget_missing(self, there: Mapping[Path, Stamp]) -> None:
        """Forget pictures that are gone, but not if their whole folder is gone.

        Such a folder may be on a disk that comes back, and then its pictures are not new.
        """
        missing = [path for path in self._seen if path not in there]
        folders = {path.parent for path in there} if missing else set()
        away = [path for path in missing if path.parent not in folders]
        self.forget({*missing} - {*away[-REMEMBERED:]})
