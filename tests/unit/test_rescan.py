"""A private folder that changes: what a look at it asks for, and the data that follow; no file is read here."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.data.arrivals import SETTLED, TRIES, Stamp
from edgekd.data.datasets import PeerData
from edgekd.data.held_out import NOTHING, HeldOut, choose, grown, own_seed, pixel_digests
from edgekd.data.private_folder import Changes, Listing, look_through, newest
from edgekd.data.public import make_public
from edgekd.data.sources import Labelled
from edgekd.data.taking_up import Change, Taken, in_memory, take_up

ROOT = Path("own")
CLASSES = ("cat", "dog", "emu")
SEED = own_seed(5, 0)
QUIET = SETTLED + TRIES  # looks after which all that has changed is taken up, or given up
CAT, DOG, EMU = (ROOT / name for name in CLASSES)


def started_with(there: dict[Path, Stamp], keep: int | None) -> Changes:
    """After a start that has read all that is there."""
    return Changes(there, {*there}, CLASSES, keep)


def listing(*pictures: tuple[Path, Stamp], unread: Sequence[Path] = ()) -> Listing:
    return Listing(pictures=dict(pictures), unread=dict.fromkeys(unread, "Input/output error"))


# -- the newest --------------------------------------------------------------------------------------------------------


def test_newest_are_those_of_every_class_alike_and_what_a_small_class_leaves_the_others_share() -> None:
    cats = [(CAT / f"{time}.png", (1, time)) for time in range(100, 150)]
    dogs = [(DOG / f"{time}.png", (1, time)) for time in range(20)]
    emus = [(EMU / "old.png", (1, 0))]
    others = [(ROOT / "yak" / "new.png", (1, 999))]
    wanted = newest(dict([*cats, *dogs, *emus, *others]), CLASSES, 11)
    assert sorted(path.name for path in wanted if path.parent == CAT) == [f"{time}.png" for time in range(145, 150)]
    assert sorted(path.name for path in wanted if path.parent == DOG) == [f"{time}.png" for time in range(15, 20)]
    assert len(wanted) == 11
    assert EMU / "old.png" in wanted, "a class that has just appeared, or is rare, is not crowded out"


def test_without_a_bound_all_pictures_of_known_classes_are_wanted() -> None:
    there = {CAT / "1.png": (1, 1), ROOT / "yak" / "1.png": (1, 1)}
    assert newest(there, CLASSES, None) == {CAT / "1.png": (1, 1)}


stamped = st.dictionaries(
    st.builds(lambda folder, name: folder / f"{name}.png", st.sampled_from([CAT, DOG, EMU]), st.integers(0, 20)),
    st.tuples(st.just(1), st.integers(0, 9)),
)


@given(there=stamped, keep=st.integers(1, 20), data=st.data())
def test_picture_that_is_among_the_newest_stays_so_when_others_go(
    there: dict[Path, Stamp], keep: int, data: st.DataObject
) -> None:
    left = {path: stamp for path, stamp in there.items() if data.draw(st.booleans())}
    before, after = newest(there, CLASSES, keep), newest(left, CLASSES, keep)
    assert before.keys() & left.keys() <= after.keys()
    assert len(after) == min(keep, len(left))


# -- what a look asks for ----------------------------------------------------------------------------------------------

A, B, C = CAT / "a.png", CAT / "b.png", DOG / "c.png"


def test_new_picture_is_due_once_it_has_settled_and_a_missing_one_is_dropped_at_the_second_look() -> None:
    changes = started_with({A: (1, 1), B: (1, 1)}, None)
    first = changes.look(listing((A, (1, 1)), (C, (5, 5))), {A, B})
    assert (first.due, first.removed) == ([], frozenset())
    second = changes.look(listing((A, (1, 1)), (C, (5, 5))), {A, B})
    assert (second.due, second.removed) == ([(C, False)], {B})


def test_picture_that_is_missing_for_one_look_only_stays() -> None:
    changes = started_with({A: (1, 1), B: (1, 1)}, None)
    for there in (listing((A, (1, 1))), listing((A, (1, 1)), (B, (1, 1))), listing((A, (1, 1)))):
        assert changes.look(there, {A, B}).removed == frozenset()


def test_pictures_of_a_class_folder_that_cannot_be_read_stay_and_are_not_new_when_it_is_back() -> None:
    changes = started_with({A: (1, 1), C: (1, 1)}, None)
    for there in (listing((C, (1, 1)), unread=[CAT]), listing((A, (1, 1)), (C, (1, 1)))):
        for _ in range(4):
            found = changes.look(there, {A, C})
            assert (found.due, found.removed) == ([], frozenset())


OLD, NEW = ((A, (1, 1)), (B, (1, 2))), (CAT / "new.png", (1, 3))


def test_bound_drops_the_older_once_the_newer_are_read_and_asks_for_them_again_where_newer_ones_have_gone() -> None:
    changes = started_with(dict(OLD), 2)
    changes.look(listing(*OLD, NEW), {A, B})
    found = changes.look(listing(*OLD, NEW), {A, B})
    assert (found.due, found.removed) == ([(NEW[0], False)], frozenset())
    assert changes.make_room({A, B}) == frozenset(), "it could not be read"
    assert changes.make_room({A, B, NEW[0]}) == {A}
    changes.done(NEW[0])
    changes.look(listing(*OLD), {B, NEW[0]})
    found = changes.look(listing(*OLD), {B, NEW[0]})
    assert (found.due, found.removed) == ([(A, False)], {NEW[0]})


def test_picture_that_is_given_up_takes_no_place_and_nothing_is_read_again_for_it() -> None:
    changes = started_with(dict(OLD), 2)
    due = [changes.look(listing(*OLD, NEW), {A, B}).due for _ in range(QUIET + 5)]
    assert [each for one in due for each in one] == [(NEW[0], False)] * TRIES + [(NEW[0], True)]


def test_older_picture_is_read_where_the_newer_is_given_up_at_the_start_or_later() -> None:
    there = dict([*OLD, NEW])
    changes = Changes(there, {A, NEW[0]}, CLASSES, 2)  # the start could not read NEW, and B was not there
    due = [changes.look(listing(*OLD, NEW), {A}).due for _ in range(SETTLED)]
    assert due[-1] == [(B, False)]
    changes = Changes(there, {B, NEW[0]}, CLASSES, 2)
    changed = (NEW[0], (9, 9))
    due = [changes.look(listing(*OLD, changed), {B, NEW[0]}).due for _ in range(QUIET)]
    assert due[-1] == [(NEW[0], True)]
    due = [changes.look(listing(*OLD, changed), {B}).due for _ in range(SETTLED)]
    assert due[-1] == [(A, False)]


def test_class_folder_that_vanishes_has_its_pictures_removed_and_is_read_again_when_it_is_back() -> None:
    changes = started_with({A: (1, 1), C: (1, 1)}, None)
    for _ in range(3):
        found = changes.look(listing((A, (1, 1))), {A, C})
    assert found.removed == {C}
    due = [changes.look(listing((A, (1, 1)), (C, (1, 1))), {A}).due for _ in range(SETTLED)]
    assert due == [[], [(C, False)]]


def test_what_is_missing_goes_before_what_is_older() -> None:
    changes = started_with(dict(OLD), 2)
    changes.look(listing(*OLD, NEW), {A, B})
    changes.look(listing(OLD[0], NEW), {A, B})
    assert changes.make_room({A, B, NEW[0]}) == {B}


def test_unknown_class_is_named_once_and_never_if_the_start_has_named_it() -> None:
    yak, zebu = (ROOT / "yak" / "1.png", (1, 1)), (ROOT / "zebu" / "1.png", (1, 1))
    changes = started_with(dict([(A, (1, 1)), yak]), None)
    said = [changes.look(listing((A, (1, 1)), yak, zebu), {A}) for _ in range(4)]
    assert [list(each.unknown) for each in said] == [["zebu"], [], [], []]
    assert not any(each.due for each in said)


def test_look_through_finds_pictures_of_subfolders_alone_and_tells_which_cannot_be_read(tmp_path: Path) -> None:
    for name in ("cat/a.png", "cat/deep/b.png", "cat/notes.txt", "cat/.hidden.png", "loose.png", "@eaDir/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "dog").symlink_to(tmp_path / "not" / "mounted")
    (tmp_path / "link.png").symlink_to(tmp_path / "loose.png")
    found = look_through(tmp_path)
    assert list(found.pictures) == [tmp_path / "cat" / "a.png"]
    assert dict(found.unread) == {tmp_path / "dog": "No such file or directory"}
    with pytest.raises(OSError, match="No such file"):
        look_through(tmp_path / "gone")


# -- the data that follow ----------------------------------------------------------------------------------------------


def pixels(content: int) -> torch.Tensor:
    """A picture of its own for each number."""
    colour = torch.tensor([content & 255, content >> 8, 0], dtype=torch.uint8)
    return colour.view(3, 1, 1).repeat(1, 2, 2)


def labelled(*pictures: tuple[Path, int]) -> Labelled:
    images = torch.stack([pixels(content) for _, content in pictures]) if pictures else torch.empty(0, 3, 2, 2)
    labels = torch.tensor([CLASSES.index(path.parent.name) for path, _ in pictures], dtype=torch.int64)
    return Labelled(images=images.to(torch.uint8), labels=labels, files=tuple(path for path, _ in pictures))


def started(contents: dict[Path, int | None], held: HeldOut | None) -> PeerData:
    """The data that a start would read: ordered by class and name, without damaged pictures."""
    found = [(path, content) for path, content in contents.items() if content is not None]
    found.sort(key=lambda each: (CLASSES.index(each[0].parent.name), each[0].name))
    digests = [pixel_digests(pixels(content)[None])[0] for _, content in found]
    held = choose(digests, SEED) if held is None else grown(held, digests, SEED)
    sides = ([], [])
    for picture, digest in zip(found, digests, strict=True):
        sides[digest in held.digests].append(picture)
    public = make_public(torch.zeros(2, 3, 2, 2, dtype=torch.uint8), CLASSES, "none")
    private, evaluation = (labelled(*side) for side in sides)
    return PeerData(classes=CLASSES, private=private, public=public, evaluation=evaluation, held_out=held)


def many(count: int, folder: Path = CAT, first: int = 0) -> dict[Path, int]:
    return {folder / f"{number:03}.png": number for number in range(first, first + count)}


def taken(data: PeerData, **change: object) -> tuple[PeerData, Taken]:
    added = labelled(*change.pop("added", ()))
    return take_up(data, Change(added=added, **change), seed=SEED, own_evaluation=True)


def test_what_was_taken_up_is_told_in_numbers() -> None:
    data = started(many(40), None)
    gone = [CAT / "003.png", CAT / "004.png", CAT / "005.png"]
    more = [(EMU / "new.png", 900), (DOG / "moved.png", 4), (CAT / "007.png", 901)]
    _, found = taken(data, added=more, removed={*gone}, older={CAT / "009.png"}, unreadable={DOG / "broken.png"})
    assert found == Taken(new=1, removed=2, moved=1, changed=1, older=1, unreadable=1, first_of=("dog", "emu"))
    assert str(found) == (
        "1 new picture, 2 removed, 1 moved, 1 changed, 1 dropped for newer ones, 1 could not be read; "
        "the first of dog, emu"
    )


def test_picture_that_is_read_again_and_is_the_same_changes_nothing() -> None:
    data = started(many(20), None)
    after, found = taken(data, added=[(CAT / "003.png", 3)])
    assert after is data
    assert not str(found)


def test_relabelled_picture_has_its_new_label_and_stays_on_its_side() -> None:
    data = started(many(30), None)
    for number in range(30):
        was = CAT / f"{number:03}.png"
        held = was in data.evaluation.files
        after, found = taken(data, added=[(DOG / "x.png", number)], removed={was})
        side, other = (after.evaluation, after.private) if held else (after.private, after.evaluation)
        assert side.labels[side.files.index(DOG / "x.png")] == 1
        assert DOG / "x.png" not in other.files
        assert was not in in_memory(after, own_evaluation=True)
        assert found.moved == 1


def test_set_that_would_be_empty_stays_until_there_are_others() -> None:
    data = started(many(12), None)
    (held,) = data.evaluation.files
    after, found = taken(data, removed={held, data.private.files[0]})
    assert after.evaluation is data.evaluation
    assert found.removed == 1
    again, found = taken(after, removed={held})
    assert again is after
    assert not str(found)


def test_with_eval_the_evaluation_images_are_no_part_of_the_folder() -> None:
    data = started(many(20), None)
    data = PeerData(
        classes=CLASSES,
        private=data.private,
        public=data.public,
        evaluation=labelled(*many(3).items()),
        held_out=NOTHING,
    )
    change = Change(added=labelled((DOG / "1.png", 77)), removed={CAT / "001.png"})
    after, _ = take_up(data, change, seed=SEED, own_evaluation=False)
    assert after.evaluation is data.evaluation
    assert DOG / "1.png" in after.private.files


# -- whatever happens --------------------------------------------------------------------------------------------------


@dataclass
class Folder:
    """A folder that somebody works in, and a peer that looks at it now and then."""

    contents: dict[Path, int | None]  # None: it cannot be read
    keep: int | None
    stamps: dict[Path, Stamp] = field(default_factory=dict)
    clock: itertools.count = field(default_factory=itertools.count)
    trained: set[str] = field(default_factory=set)  # digests that were ever trained on
    evaluated: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for path in self.contents:
            self.stamps[path] = (1, next(self.clock))
        self.start(None)

    def wanted(self) -> dict[Path, int]:
        """The newest of those that can be read."""
        sound = {path: stamp for path, stamp in self.stamps.items() if self.contents[path] is not None}
        return {path: self.contents[path] for path in newest(sound, CLASSES, self.keep)}

    def start(self, held: HeldOut | None) -> None:
        self.data = started(self.wanted(), held)
        damaged = {path for path, content in self.contents.items() if content is None}
        self.changes = Changes(self.stamps, {*self.wanted()} | damaged, CLASSES, self.keep)
        self.note()

    def write(self, path: Path, content: int | None) -> None:
        self.contents[path], self.stamps[path] = content, (1, next(self.clock))

    def move(self, source: Path, target: Path) -> None:
        self.contents[target], self.stamps[target] = self.contents.pop(source), self.stamps.pop(source)

    def remove(self, path: Path) -> None:
        del self.contents[path], self.stamps[path]

    def look(self) -> None:
        if not self.contents:
            return
        held = in_memory(self.data, own_evaluation=True)
        found = self.changes.look(Listing(pictures=self.stamps, unread={}), held)
        whole = [(path, self.contents[path]) for path, _ in found.due if self.contents[path] is not None]
        for path, _ in whole:
            self.changes.done(path)
        given_up = {path for path, last in found.due if last and self.contents[path] is None}
        older = self.changes.make_room((held | {path for path, _ in whole}) - found.removed - given_up)
        change = Change(added=labelled(*whole), removed=found.removed, older=older, unreadable=given_up)
        self.data, _ = take_up(self.data, change, seed=SEED, own_evaluation=True)
        self.note()
        both = in_memory(self.data, own_evaluation=True)
        stay = both & (found.removed | older | given_up)  # a set would have been empty
        assert self.keep is None or len(both) <= self.keep + len(stay)

    def note(self) -> None:
        self.trained |= {*pixel_digests(self.data.private.images)}
        self.evaluated |= {*pixel_digests(self.data.evaluation.images)}


paths = st.builds(lambda folder, name: folder / f"{name}.png", st.sampled_from([CAT, DOG, EMU]), st.integers(0, 9))
contents = st.none() | st.integers(0, 40)
acts = st.one_of(
    st.tuples(st.just("write"), paths, contents),
    st.tuples(st.just("move"), st.integers(0, 99), paths),
    st.tuples(st.just("remove"), st.integers(0, 99)),
    st.just(("look",)),
    st.just(("look",)),
    st.just(("restart",)),
)


def act(folder: Folder, what: Sequence[object]) -> None:
    there = sorted(folder.contents)
    if what[0] == "write":
        folder.write(what[1], what[2])
    elif what[0] == "move" and there:
        folder.move(there[what[1] % len(there)], what[2])
    elif what[0] == "remove" and there:
        folder.remove(there[what[1] % len(there)])
    elif what[0] == "look":
        folder.look()
    elif what[0] == "restart" and starts(folder):
        folder.start(folder.data.held_out)


def starts(folder: Folder) -> bool:
    """Whether a peer starts with the folder as it is: there is something to train on, and to evaluate on."""
    if not folder.wanted():
        return False
    data = started(folder.wanted(), folder.data.held_out)
    return len(data.private.labels) > 0 and len(data.evaluation.labels) > 0


def equal(one: Labelled, other: Labelled) -> bool:
    return one.files == other.files and torch.equal(one.labels, other.labels) and torch.equal(one.images, other.images)


@settings(deadline=None, max_examples=80)
@given(first=st.integers(2, 9), keep=st.none() | st.integers(2, 12), doings=st.lists(acts, max_size=40))
def test_whatever_is_added_removed_moved_or_damaged_no_picture_is_ever_on_both_sides(
    first: int, keep: int | None, doings: list[tuple[object, ...]]
) -> None:
    folder = Folder(dict(many(first, EMU, 50)), keep)
    for what in doings:
        act(folder, what)
        assert not folder.trained & folder.evaluated
        assert len(folder.data.private.labels) > 0
        assert len(folder.data.evaluation.labels) > 0


@settings(deadline=None, max_examples=80)
@given(first=st.integers(2, 9), keep=st.none() | st.integers(2, 12), doings=st.lists(acts, max_size=40))
def test_once_it_is_quiet_the_data_are_what_a_new_start_reads(
    first: int, keep: int | None, doings: list[tuple[object, ...]]
) -> None:
    folder = Folder(dict(many(first, EMU, 50)), keep)
    for what in doings:
        act(folder, what)
    for _ in range(QUIET * (1 + sum(content is None for content in folder.contents.values()))):
        folder.look()
    if not starts(folder):
        return
    fresh = started(folder.wanted(), folder.data.held_out)
    assert equal(folder.data.private, fresh.private)
    assert equal(folder.data.evaluation, fresh.evaluation)
    before = folder.data
    folder.look()
    assert folder.data is before, "nothing has changed"


def test_bound_holds_at_each_look_while_pictures_come() -> None:
    folder = Folder(dict(many(80)), 60)
    for number in range(100):
        folder.write((CAT, DOG, EMU)[number % 3] / f"new{number}.png", 100 + number)
        folder.look()
        assert len(in_memory(folder.data, own_evaluation=True)) == 60
    assert len({path.parent for path in in_memory(folder.data, own_evaluation=True)}) == 3


def test_new_class_is_trained_on_after_two_looks() -> None:
    folder = Folder(dict(many(20)), None)
    for path, content in many(10, DOG, 100).items():
        folder.write(path, content)
    folder.look()
    assert 1 not in folder.data.private.labels
    folder.look()
    assert (folder.data.private.labels == 1).sum() + (folder.data.evaluation.labels == 1).sum() == 10
