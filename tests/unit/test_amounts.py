"""How steps, bytes and times are written, and how long the rest takes."""

import pytest

from edgekd.protocol.amounts import bytes_text, duration, seconds_left, steps_text


def test_amounts_are_short() -> None:
    assert [bytes_text(count) for count in (0, 999, 1500, 2_000_000)] == ["0 B", "999 B", "1.5 kB", "2.0 MB"]
    assert [duration(seconds) for seconds in (None, 5, 65, 3723)] == ["-", "0:05", "1:05", "1:02:03"]
    assert [steps_text(*each) for each in ((1, 5), (5, 5), (6, 5), (7, 0))] == ["1/5", "5/5", "6", "7"]


@pytest.mark.parametrize(
    ("step", "steps", "first_step", "seconds", "left"),
    [
        (60, 100, 20, 20.0, 20.0),  # 20 steps of another process tell nothing
        (60, 0, 20, 20.0, None),
        (20, 100, 20, 0.0, None),
        (100, 100, 20, 20.0, None),
        (60, 100, None, 0.0, None),  # of a peer before protocol 1.5
        (10, 100, 20, 5.0, None),
        (60, 100, 20, float("nan"), None),
        (1, 2**62, 0, 1e308, None),
        (1, 2**62, 0, 1.0, None),
    ],
)
def test_time_left_is_at_the_pace_of_this_process(
    step: int, steps: int, first_step: int | None, seconds: float, left: float | None
) -> None:
    assert seconds_left(step=step, steps=steps, first_step=first_step, seconds=seconds) == left
