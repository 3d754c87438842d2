"""The best evaluation so far, and falls below it: what is one, when it is over, and what is chance."""

from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.files.summary import differ
from edgekd.learning.best import AGAIN, Best, after, beats
from edgekd.learning.evaluation import Accuracy

IMAGES = 180
RIGHT = st.lists(st.integers(0, IMAGES), min_size=1, max_size=40)


def reached(right: int, images: int = IMAGES) -> Accuracy:
    return Accuracy(right / images, 0.0, (right / images,), images)


def all_of(rights: list[int], images: int = IMAGES) -> list[Best]:
    """The best after each evaluation, at steps 1, 2, ..."""
    found = [Best()]
    for step, right in enumerate(rights, start=1):
        found.append(after(found[-1], reached(right, images), step))
    return found[1:]


@settings(deadline=None)
@given(rights=RIGHT)
def test_best_is_the_largest_so_far_and_of_equal_ones_the_first(rights: list[int]) -> None:
    for count, best in enumerate(all_of(rights), start=1):
        assert best.accuracy == reached(max(rights[:count]))
        assert best.step == rights.index(max(rights[:count])) + 1
        assert not beats(reached(max(rights[:count])), best.accuracy)


@settings(deadline=None)
@given(rights=RIGHT)
def test_fall_begins_beyond_two_standard_errors_and_is_over_within_one(rights: list[int]) -> None:
    before = Best()
    for right, best in zip(rights, all_of(rights), strict=True):
        assert best.accuracy is not None
        top = round(best.accuracy.overall * IMAGES)
        if differ(top, IMAGES, right, IMAGES):
            assert best.fallen
        elif not differ(top, IMAGES, right, IMAGES, AGAIN):
            assert not best.fallen
        else:
            assert best.fallen == before.fallen, "between the two nothing begins and nothing ends"
        before = best


def test_accuracy_that_hovers_about_the_limit_begins_one_fall() -> None:
    found = all_of([160, 149, 147, 149, 140, 148, 149, 140, 158, 160, 120])
    assert [best.fallen for best in found] == [False] * 4 + [True] * 4 + [False] * 2 + [True]


def test_one_image_of_few_is_chance_even_from_all_right() -> None:
    assert not any(best.fallen for best in all_of([10, 9, 8], images=10))
    assert all_of([10, 2], images=10)[-1].fallen
