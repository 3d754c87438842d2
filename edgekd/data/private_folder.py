"""A box's private folder, which is scanned again and again: its pictures, and what has changed since the last scan."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from edgekd.data.arrivals import Arrivals, Stamp, stamps
from edgekd.data.pictures import is_of_system


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """The result of one scan of the folder."""

    pictures: Mapping[Path, Stamp]  # the pictures directly in its subfolders
    unread: Mapping[Path, str]  # subfolders that cannot be read, with the reason; their content is unknown


def look_through(root: Path) -> Listing:
    """List all pictures directly in the subfolders of `root`, without opening them.

    Raises:
        OSError: `root` cannot be read.
    """
    pictures: dict[Path, Stamp] = {}
    unread: dict[Path, str] = {}
    with os.scandir(root) as entries:  # a link may lead to a folder that does not exist at the moment
        named = [each for each in entries if not is_of_system(each)]
        folders = sorted(Path(each.path) for each in named if each.is_dir() or each.is_symlink())
    for folder in folders:
        try:
            pictures |= stamps(folder, deep=False)
        except NotADirectoryError:
            continue
        except OSError as error:
            unread[folder] = error.strerror or str(error)
    return Listing(pictures=pictures, unread=unread)


def newest(pictures: Mapping[Path, Stamp], classes: Sequence[str], keep: int | None) -> dict[Path, Stamp]:
    """The newest `keep` pictures, equally from all classes: the newest of each, then the second newest of each.

    A class with few pictures keeps them all, and the other classes share the rest. Subfolders that are not named in
    `classes` are ignored.

    Args:
        pictures: the pictures of the folder.
        classes: the known classes.
        keep: the largest number of pictures; None: all.
    """
    known = {*classes}
    there = {path: stamp for path, stamp in pictures.items() if path.parent.name in known}
    if keep is None or len(there) <= keep:
        return there
    places: Counter[Path] = Counter()  # for each class, the number of newer pictures
    ranked = []
    for age, path in enumerate(sorted(there, key=lambda path: (-there[path][1], path))):
        ranked.append((places[path.parent], age, path))
        places[path.parent] += 1
    return {path: there[path] for _, _, path in sorted(ranked)[:keep]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What must be done after a scan."""

    due: Sequence[tuple[Path, bool]]  # pictures to read, each with whether it is the last try, as from `Arrivals.look`
    removed: Set[Path]  # pictures in memory that are no longer in the folder
    unknown: Sequence[str]  # names of subfolders with pictures that are not classes and are new


class Changes:
    """Decides which pictures of the folder must be read, and which must be dropped. It does no I/O.

    A missing picture is dropped only by the second scan that misses it. The same scan then reads what takes its place:
    an older picture, or the same one at another path. A picture is dropped in favour of newer ones only when these have
    been read. A picture that cannot be read takes no place.

    Args:
        there: the pictures in the folder before they were read for the first time.
        read: the pictures that the start has read, or has found to be unreadable.
        classes: the known classes.
        keep: how many pictures are kept in memory; None: all.
    """

    def __init__(self, there: Mapping[Path, Stamp], read: Set[Path], classes: Sequence[str], keep: int | None) -> None:
        self._there, self._classes, self._keep = dict(there), classes, keep
        self._unknown = self._others()
        self._arrivals = Arrivals({path: stamp for path, stamp in there.items() if path in read})
        self._missing: Set[Path] = frozenset()  # pictures in memory that the last scan did not find

    def look(self, listing: Listing, held: Set[Path]) -> Difference:
        """Find what must be done after a scan.

        The caller then reads the pictures, calls `make_room`, and calls `done` for each picture that was read.

        Args:
            listing: the scan, with at least one picture. Pictures in unreadable subfolders count as unchanged.
            held: the pictures in memory.
        """
        unread = {path: stamp for path, stamp in self._there.items() if path.parent in listing.unread}
        self._there = {**listing.pictures, **unread}
        missing = held - self._there.keys()
        removed, self._missing = missing & self._missing, missing
        self._arrivals.forget(removed)
        unknown = sorted(self._others() - self._unknown)
        self._unknown |= {*unknown}
        due = self._arrivals.look(self._there, self._wanted(held).keys())
        return Difference(due=due, removed=removed, unknown=unknown)

    def _wanted(self, held: Set[Path]) -> Mapping[Path, Stamp]:
        """The newest of the pictures that are in memory or can still be read; those that were given up do not count."""
        able = {
            path: stamp
            for path, stamp in self._there.items()
            if path in held or not self._arrivals.has_seen(path, stamp)
        }
        return newest(able, self._classes, self._keep)

    def make_room(self, held: Set[Path]) -> Set[Path]:
        """Choose what to drop if more than `keep` pictures are held: first missing ones, then the older ones.

        Args:
            held: the pictures in memory, and those that were just read.

        Returns:
            The pictures to drop. They are read again if they are wanted again.
        """
        if self._keep is None or len(held) <= self._keep:
            return frozenset()
        there = {path: self._there[path] for path in held if path in self._there}
        kept = newest(there, self._classes, self._keep)
        missing = sorted(held - there.keys())[: self._keep - len(kept)]
        dropped = held - kept.keys() - {*missing}
        self._arrivals.forget(dropped)
        return dropped

    def _others(self) -> set[str]:
        return {path.parent.name for path in self._there} - {*self._classes}

    def done(self, path: Path) -> None:
        """Note that the picture was read as `look` last saw it. It is due again only if it changes."""
        self._arrivals.done(path)
