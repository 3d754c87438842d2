"""Token buckets, and who is cut off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.allowance import Allowance
from edgekd.protocol.guard import CUT_OFF, FRAME_EVERY, FRAMES, REFUSAL_EVERY, REFUSALS, Guard


@given(
    burst=st.integers(1, 20),
    every=st.floats(0.01, 10),
    waits=st.lists(st.floats(0, 30), max_size=100),
)
def test_within_any_span_no_more_is_had_than_the_burst_and_one_in_every_so_many_seconds(
    burst: int, every: float, waits: list[float]
) -> None:
    allowance, now, had = Allowance(burst, every), 1000.0, []
    for wait in waits:
        now += wait
        if allowance.has(now):
            allowance.use()
            had.append(now)
    for first, start in enumerate(had):
        for last, end in enumerate(had[first:], first):
            assert last - first + 1 <= burst + (end - start) / every + 1e-6


def test_who_keeps_to_the_pace_always_has_one() -> None:
    allowance = Allowance(1, 0.5)
    for tick in range(1000):
        assert allowance.has(tick * 0.5)
        allowance.use()


def test_flood_is_refused_and_a_second_later_there_is_room_for_as_many_as_a_second_takes() -> None:
    guard = Guard()
    for _ in range(FRAMES):
        guard.note_frame(1, 10.0)
    with pytest.raises(RemoteProtocolError) as raised:
        guard.note_frame(1, 10.0)
    assert raised.value.reason == "flood"
    guard.note_frame(2, 10.0)  # nobody else's affair
    for _ in range(round(0.9 / FRAME_EVERY)):
        guard.note_frame(1, 11.0)


def test_who_has_too_much_refused_is_cut_off_for_a_while_and_starts_afresh() -> None:
    guard = Guard()
    assert not any(guard.note_refusal(7, "nan", 5.0) for _ in range(REFUSALS))
    assert guard.cut_off_for(7, 5.0) == 0
    assert guard.note_refusal(7, "nan", 5.0)
    assert guard.cut_off_for(7, 5.0) == CUT_OFF
    assert guard.cut_off_for(8, 5.0) == 0
    assert not guard.note_refusal(7, "nan", 6.0), "it is already"
    assert guard.cut_off_for(7, 5.0 + CUT_OFF) == 0
    assert not any(guard.note_refusal(7, "nan", 5.0 + CUT_OFF) for _ in range(REFUSALS))


def test_a_bad_frame_now_and_then_and_frames_of_a_newer_version_cut_nobody_off() -> None:
    guard = Guard()
    assert not any(guard.note_refusal(1, "nan", tick * REFUSAL_EVERY) for tick in range(1000))
    assert not any(guard.note_refusal(1, "unknown", 1.0) for _ in range(10_000))


def test_strangers_without_number_take_no_memory() -> None:
    guard = Guard(limit=8)
    for id in range(1000):
        guard.note_frame(id, 1.0)
        guard.note_refusal(id, "nan", 1.0)
    assert len(guard._records) == 8
