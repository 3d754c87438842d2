"""The time left of a sweep comes from the cells that were run, each kind by itself."""

import pytest

from edgekd.config import Config, DataConfig, TrainConfig
from edgekd.lab.sweep.pace import Pace
from edgekd.lab.sweep.records import ALONE, POOLED, TOGETHER, Cell, Outcome
from edgekd.lab.sweep.run import Failure


def cells(kind: str, count: int) -> list[Cell]:
    return [Cell(kind, Config(data=DataConfig(limit=300), train=TrainConfig(seed=seed))) for seed in range(count)]


def test_nothing_is_known_before_the_first_cell() -> None:
    pace = Pace(cells(TOGETHER, 3), 2)
    assert pace.seconds_left(50.0) is None
    pace.note(Failure(cells(TOGETHER, 3)[0], "out of memory"))
    assert pace.seconds_left(60.0) is None, "a failure says nothing about the others"


@pytest.mark.parametrize(
    ("at_once", "elapsed", "expected"), [(1, 240.0, 660.0), (2, 120.0, 330.0), (None, 120.0, 330.0)]
)
def test_slow_cells_are_as_slow_after_a_while_as_at_once(at_once: int | None, elapsed: float, expected: float) -> None:
    """4 of 15 cells in so many seconds: the rest takes eleven times as long as one."""
    left = cells(TOGETHER, 15)
    pace = Pace(left, at_once)
    for cell in left[:4]:
        pace.note(Outcome(cell, (), 60.0))
    assert pace.seconds_left(elapsed) == pytest.approx(expected)


def test_each_kind_has_its_own_pace_and_an_unknown_one_the_mean_of_the_others() -> None:
    together, alone, pooled = cells(TOGETHER, 3), cells(ALONE, 3), cells(POOLED, 1)
    pace = Pace([*together, *alone, *pooled], 1)
    pace.note(Outcome(together[0], (), 100.0))
    pace.note(Outcome(alone[0], (), 10.0))
    assert pace.seconds_left(110.0) == pytest.approx(2 * 100 + 2 * 10 + 55)


def test_time_goes_by_while_cells_are_under_way_and_never_below_zero() -> None:
    left = cells(TOGETHER, 4)
    pace = Pace(left, 2)
    pace.note(Outcome(left[0], (), 60.0))
    assert [pace.seconds_left(elapsed) for elapsed in (60.0, 90.0, 900.0)] == [60.0, 30.0, 0.0]
