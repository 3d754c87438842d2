"""Applying changes in a peer's private folder to its data: what a new start would read, without reading it all."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import torch

from edgekd.data.datasets import PeerData
from edgekd.data.held_out import grown, pixel_digests
from edgekd.data.sources import Labelled, merged

NO_FILES: frozenset[Path] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Change:
    """What has changed in a private folder."""

    added: Labelled  # pictures that were read, with their files: new ones, and changed ones that are in memory
    removed: Set[Path] = NO_FILES  # files in memory that are no longer in the folder
    older: Set[Path] = NO_FILES  # files in memory that are no longer among the newest
    unreadable: Set[Path] = NO_FILES  # new or changed files that are damaged


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """The applied changes, as numbers of pictures."""

    new: int = 0
    removed: int = 0
    moved: int = 0  # the same pixels at another path, perhaps of another class
    changed: int = 0  # other pixels at the same path
    older: int = 0
    unreadable: int = 0
    first_of: tuple[str, ...] = ()  # classes of which no picture was trained on before

    def __str__(self) -> str:
        said = (
            (self.new, f"{self.new} new {'picture' if self.new == 1 else 'pictures'}"),
            (self.removed, f"{self.removed} removed"),
            (self.moved, f"{self.moved} moved"),
            (self.changed, f"{self.changed} changed"),
            (self.older, f"{self.older} dropped for newer ones"),
            (self.unreadable, f"{self.unreadable} could not be read"),
        )
        first_of = f"; the first of {', '.join(self.first_of)}" if self.first_of else ""
        return ", ".join(text for number, text in said if number) + first_of


def in_memory(data: PeerData, *, own_evaluation: bool) -> set[Path]:
    """The files of the private folder whose pictures are in `data`."""
    return {file for images in _own(data, own_evaluation) for file in images.files}


def take_up(data: PeerData, change: Change, *, seed: int, own_evaluation: bool) -> tuple[PeerData, Taken]:
    """Apply a change of the private folder to the data of a peer.

    The rule of the run, `data.held_out`, decides which new pictures are held out. If a set would become empty, the
    data stays as it is.

    Args:
        data: the data of a peer with a private folder.
        change: what has changed in that folder.
        seed: the `held_out.own_seed` of the peer.
        own_evaluation: whether the peer is evaluated on pictures of its private folder, not on those of ``--eval``.

    Returns:
        The data after the change (`data` itself if no picture differs), and the numbers of pictures.
    """
    assert data.held_out is not None  # its pictures are its own
    gone = {*change.removed, *change.older, *change.unreadable}
    before = _digests(_own(data, own_evaluation), gone | {*change.added.files})
    read = dict(zip(change.added.files, pixel_digests(change.added.images), strict=True))
    added = {file: digest for file, digest in read.items() if before.get(file) != digest}
    held = grown(data.held_out, list(added.values()), seed)
    dropped = (gone & before.keys()) | added.keys()
    if not added and not dropped:
        return data, Taken(unreadable=len(change.unreadable))
    trained = [place for place, file in enumerate(read) if file in added and read[file] not in held.digests]
    evaluated = [place for place, file in enumerate(read) if file in added and read[file] in held.digests]
    private, evaluation = merged(data.private, change.added, trained, dropped), data.evaluation
    if own_evaluation:
        evaluation = merged(evaluation, change.added, evaluated, dropped)
    if private is data.private and evaluation is data.evaluation:  # one of the sets would be empty
        return data, Taken(unreadable=len(change.unreadable))
    after = dataclasses.replace(data, private=private, evaluation=evaluation, held_out=held)
    left = {file: before[file] for file in gone & before.keys() - in_memory(after, own_evaluation=own_evaluation)}
    return after, _taken(change, left, added, before.keys() & added.keys(), _first_of(data, after))


def _own(data: PeerData, own_evaluation: bool) -> tuple[Labelled, ...]:
    return (data.private, data.evaluation) if own_evaluation else (data.private,)


def _digests(sets: Sequence[Labelled], files: Set[Path]) -> dict[Path, str]:
    """The digests of the pictures in memory that are among these files."""
    found: dict[Path, str] = {}
    for images in sets:
        places = [place for place, file in enumerate(images.files) if file in files]
        found |= dict(zip((images.files[place] for place in places), pixel_digests(images.images[places]), strict=True))
    return found


def _taken(
    change: Change, left: Mapping[Path, str], added: Mapping[Path, str], changed: Set[Path], first_of: tuple[str, ...]
) -> Taken:
    """Count the changes.

    Args:
        change: the change of the folder.
        left: files that are no longer in memory, with their digests.
        added: files whose pixels are new in memory, with their digests.
        changed: the files among `added` that had other pixels before.
        first_of: as in `Taken`.
    """
    arrived = Counter(digest for file, digest in added.items() if file not in changed)
    removed = Counter(digest for file, digest in left.items() if file not in change.older)
    moved = (arrived & removed).total()
    return Taken(
        new=arrived.total() - moved,
        removed=removed.total() - moved,
        moved=moved,
        changed=len(changed),
        older=len(left.keys() & change.older),
        unreadable=len(change.unreadable),
        first_of=first_of,
    )


def _first_of(before: PeerData, after: PeerData) -> tuple[str, ...]:
    had, has = (torch.bincount(data.private.labels, minlength=len(data.classes)).tolist() for data in (before, after))
    return tuple(name for name, old, new in zip(after.classes, had, has, strict=True) if new and not old)
