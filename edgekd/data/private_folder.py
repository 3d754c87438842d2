"""A box's private folder, looked at again and again: its pictures, and what has changed since the last look."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from edgekd.data.arrivals import Arrivals, Stamp, stamps
from edgekd.data.pictures import is_of_system


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """What one look at the folder has found."""

    pictures: Mapping[Path, Stamp]  # directly in its subfolders
    unread: Mapping[Path, str]  # subfolders that cannot be read, and why: nobody knows what they hold


def look_through(root: Path) -> Listing:
    """Look at all pictures directly in the subfolders of `root`; none is opened.

    Raises:
        OSError: `root` cannot be read.
    """
    pictures: dict[Path, Stamp] = {}
    unread: dict[Path, str] = {}
    with os.scandir(root) as entries:  # a link may lead to a folder that is not there now
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
    """The newest `keep` pictures, of every class alike: the newest one of each class, then the second of each...

    A class with few pictures keeps them all, and the others share what is left. Subfolders of other names than
    `classes` have no part.

    Args:
        pictures: of the folder.
        classes: the known ones.
        keep: how many at most; None: all.
    """
    known = {*classes}
    there = {path: stamp for path, stamp in pictures.items() if path.parent.name in known}
    if keep is None or len(there) <= keep:
        return there
    places: Counter[Path] = Counter()  # of each class, how many newer pictures there are
    ranked = []
    for age, path in enumerate(sorted(there, key=lambda path: (-there[path][1], path))):
        ranked.append((places[path.parent], age, path))
        places[path.parent] += 1
    return {path: there[path] for _, _, path in sorted(ranked)[:keep]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What is to be done after a look."""

    due: Sequence[tuple[Path, bool]]  # pictures to read, and whether this is the last try: as `Arrivals.look` says
    removed: Set[Path]  # pictures in memory that have left the folder
    unknown: Sequence[str]  # names of subfolders with pictures that are no classes, which no look before has found


class Changes:
    """Decides which pictures of the folder are to be read, and which are to be dropped. It does no I/O.

    A picture that is missing is dropped by the second look that misses it: so the same look that drops one reads what
    has taken its place, an older picture or itself at another place. A picture is dropped for newer ones once these
    have been read. What cannot be read takes no place.

    Args:
        there: the pictures of the folder before they were read for the first time.
        read: those that the start has read, or found that it cannot read.
        classes: the known ones.
        keep: how many pictures are kept in memory; None: all.
    """

    def __init__(self, there: Mapping[Path, Stamp], read: Set[Path], classes: Sequence[str], keep: int | None) -> None:
        self._there, self._classes, self._keep = dict(there), classes, keep
        self._unknown = self._others()
        self._arrivals = Arrivals({path: stamp for path, stamp in there.items() if path in read})
        self._missing: Set[Path] = frozenset()  # pictures in memory that the last look did not find

    def look(self, listing: Listing, held: Set[Path]) -> Difference:
        """What is to be done. The caller reads the pictures, calls `make_room`, then `done` for each that was read.

        Args:
            listing: with at least one picture. The pictures of subfolders that cannot be read stay as they were.
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
        """The newest of those that are in memory, or may get there: what has been given up is neither."""
        able = {
            path: stamp
            for path, stamp in self._there.items()
            if path in held or not self._arrivals.has_seen(path, stamp)
        }
        return newest(able, self._classes, self._keep)

    def make_room(self, held: Set[Path]) -> Set[Path]:
        """Drop what is beyond `keep`: first what is missing from the folder, then the older ones.

        Args:
            held: the pictures in memory, and those that were read to get there.

        Returns:
            Those of `held` that are dropped; they are read again when they are wanted again.
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
        """The picture was read as `look` last saw it; it is due again only if it changes."""
        self._arrivals.done(path)
