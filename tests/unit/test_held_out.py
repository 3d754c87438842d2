"""Which of a box's own pictures are held out: those that were trained on are never evaluated on."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.data.held_out import NOTHING, HeldOut, by_position, choose, divide, grown, pixel_digests
from edgekd.data.sources import Labelled
from edgekd.errors import ConfigError

names = st.lists(st.integers(0, 10**6).map(str), min_size=2, max_size=80, unique=True)


@settings(deadline=None)
@given(first=names, more=names, seed=st.integers(0, 2**63 - 1))
def test_new_pictures_move_none_from_training_to_evaluation_or_back(
    first: list[str], more: list[str], seed: int
) -> None:
    held = choose(first, seed)
    assert len(held.digests) == max(1, len(first) // 10)
    trained = {*first} - held.digests
    later = grown(held, more + first, seed)
    assert later.digests >= held.digests
    assert not later.digests & trained
    assert grown(later, more, seed) == later
    assert choose(first[::-1], seed) == held  # the order of the files decides nothing
    assert choose(first + first, seed) == held  # nor does a picture that is there twice


def test_about_a_tenth_of_new_pictures_is_held_out_too() -> None:
    held = choose([str(number) for number in range(1000)], seed=5)
    later = grown(held, [str(number) for number in range(1000, 3000)], seed=5)
    assert 140 < len(later.digests) - len(held.digests) < 260


@pytest.mark.parametrize("count", [2, 5, 10, 40])
def test_tenth_of_later_pictures_is_held_out_however_few_a_run_began_with(count: int) -> None:
    for seed in range(20):
        held = choose([f"first {number}" for number in range(count)], seed)
        later = grown(held, [str(number) for number in range(1000)], seed)
        assert 60 < len(later.digests) - len(held.digests) < 140


def test_list_of_an_earlier_version_goes_on_by_its_own_cut(tmp_path: Path) -> None:
    (tmp_path / "held-out.json").write_text('{"held_out": ["a"], "cut": "8000000000000000"}')
    held = HeldOut.load(tmp_path)
    assert held is not None
    later = grown(held, [str(number) for number in range(1000)], seed=3)
    assert 400 < len(later.digests) < 600, "its pictures up to that cut, and no others, have been held out"


def labelled(count: int) -> Labelled:
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, 3, 2, 2).contiguous()
    return Labelled(images=images, labels=torch.arange(count))


def test_dividing_keeps_the_order_and_needs_no_second_copy_of_the_images() -> None:
    images = labelled(9)
    digests = pixel_digests(images.images)
    assert len({*digests}) == 9
    held = HeldOut(digests=frozenset(digests[place] for place in (0, 4, 7)), cut="")
    private, evaluation = divide(images, digests, held)
    assert private.labels.tolist() == private.images[:, 0, 0, 0].tolist() == [1, 2, 3, 5, 6, 8]
    assert evaluation.labels.tolist() == evaluation.images[:, 0, 0, 0].tolist() == [0, 4, 7]
    assert private.images.data_ptr() == images.images.data_ptr()


def test_dividing_takes_the_files_along() -> None:
    images = labelled(5)
    images = replace(images, files=tuple(Path(f"{place}.png") for place in range(5)))
    digests = pixel_digests(images.images)
    held = HeldOut(digests=frozenset(digests[place] for place in (1, 3)), cut="")
    for side in divide(images, digests, held):
        assert [int(file.stem) for file in side.files] == side.labels.tolist()


@pytest.mark.parametrize("held", [range(4), ()])
def test_neither_side_may_be_empty(held: range) -> None:
    images = labelled(4)
    digests = pixel_digests(images.images)
    with pytest.raises(ConfigError, match="held out for evaluation in this run; add pictures, or use --eval"):
        divide(images, digests, HeldOut(digests=frozenset(digests[place] for place in held), cut=""))


def test_one_picture_twice_is_too_few() -> None:
    with pytest.raises(ConfigError, match="1 private picture is too few"):
        choose(["a", "a"], seed=0)


def test_list_is_read_as_it_was_written_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    assert HeldOut.load(tmp_path) is None
    for held in (choose(["a", "b", "c"], seed=1), NOTHING):
        held.save(tmp_path)
        assert HeldOut.load(tmp_path) == held
    (tmp_path / "held-out.json").write_text('{"held_out": 3')
    with pytest.raises(ConfigError, match=r"cannot read .*held-out.json, which says what was held out"):
        HeldOut.load(tmp_path)


def test_run_of_an_earlier_version_keeps_its_tenth_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        held = by_position([str(number) for number in range(30)], 7, tmp_path)
    assert len(held.digests) == 3
    assert "was made before edgekd noted which pictures are held out" in caplog.text
    assert grown(held, [str(number) for number in range(1000)], 7) == held  # whatever is new is trained on
