"""What counts as agreement between the asynchronous simulation and real peers."""

import math
from dataclasses import replace

import pytest
from reality import Figures, compare, step_seconds

REAL = Figures(lessons=1.0, fresh=0.8, age=2.0, accuracy=0.5, samples=2000, teachers=1.5)


def outside(real: list[Figures], simulated: list[Figures]) -> list[tuple[int, str]]:
    return [(verdict.peer, verdict.quantity) for verdict in compare(real, simulated) if not verdict.holds]


def test_equal_figures_hold_for_every_peer_and_quantity() -> None:
    assert len(compare([REAL] * 3, [REAL] * 3)) == 12
    assert outside([REAL] * 3, [REAL] * 3) == []


@pytest.mark.parametrize(
    ("quantity", "just_inside", "just_outside"),
    [
        ("lessons", 0.97, 0.969),
        ("fresh", 0.75, 0.749),
        ("fresh", 0.85, 0.851),
        ("age", 3.0, 3.5),
        ("accuracy", 0.531, 0.533),  # 2 standard errors of a difference: 2 x sqrt(2 x 0.5 x 0.5 / 2000) = 0.0316
        ("teachers", 1.0, None),  # shown only
    ],
)
def test_tolerance_of_each_quantity(quantity: str, just_inside: float, just_outside: float | None) -> None:
    assert outside([REAL, REAL], [REAL, replace(REAL, **{quantity: just_inside})]) == []
    if just_outside is not None:
        assert outside([REAL, REAL], [REAL, replace(REAL, **{quantity: just_outside})]) == [(1, quantity)]


def test_age_of_a_peer_without_lessons_never_holds() -> None:
    silent = replace(REAL, lessons=0.0, fresh=0.0, age=math.nan)
    assert outside([silent], [silent]) == [(0, "age")]


def test_time_between_two_lines_is_shared_by_the_steps_between_them() -> None:
    lines = [("waiting", 0, 0.0), ("training", 1, 0.0), ("training", 2, 0.5), ("training", 5, 2.0), ("done", 5, 3.0)]
    progress = [{"state": state, "step": step, "seconds": seconds} for state, step, seconds in lines]
    assert step_seconds(progress) == [0.5, 0.5, 0.5, 0.5]
    assert step_seconds(progress, until=1.9) == [0.5]
