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
    older: Set[Path]  # pictures in memory that are still there, but no longer among the newest
    unknown: Sequence[str]  # names of subfolders with pictures that are no classes, which no look before has found


class Changes:
    """Decides which pictures of the folder are to be read, and which are to be dropped. It does no I/O.

    A picture is dropped by the second look that does not want it: so the same look that drops one reads what has taken
    its place, a newer picture or itself at another place.

    Args:
        there: the pictures of the folder before they were read for the first time.
        classes: the known ones.
        keep: how many pictures are kept in memory; None: all.
    """

    def __init__(self, there: Mapping[Path, Stamp], classes: Sequence[str], keep: int | None) -> None:
        self._there, self._classes, self._keep = dict(there), classes, keep
        self._unknown = self._others()
        self._arrivals = Arrivals(newest(there, classes, keep))
        self._unwanted: Set[Path] = frozenset()  # pictures in memory that the last look did not want

    def look(self, listing: Listing, held: Set[Path]) -> Difference:
        """What is to be done.

        Args:
            listing: with at least one picture. The pictures of subfolders that cannot be read stay as they were.
            held: the pictures in memory.
        """
        unread = {path: stamp for path, stamp in self._there.items() if path.parent in listing.unread}
        self._there = {**listing.pictures, **unread}
        wanted = newest(self._there, self._classes, self._keep)
        unwanted = held - wanted.keys()
        dropped, self._unwanted = unwanted & self._unwanted, unwanted
        unknown = sorted(self._others() - self._unknown)
        self._unknown |= {*unknown}
        due = self._arrivals.look(wanted)
        if self._keep is not None:  # one that was not wanted may be wanted again, and it has not been dropped
            over = len((held - dropped) | {path for path, _ in due}) - self._keep
            dropped |= {*sorted(unwanted - dropped)[: max(0, over)]}
        return Difference(
            due=due,
            removed=dropped - self._there.keys(),
            older=dropped & self._there.keys(),
            unknown=unknown,
        )

    def _others(self) -> set[str]:
        return {path.parent.name for path in self._there} - {*self._classes}

    def done(self, path: Path) -> None:
        """The picture was read as `look` last saw it; it is due again only if it changes."""
        self._arrivals.done(path)
