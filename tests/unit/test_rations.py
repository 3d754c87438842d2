"""Rate limits of questions: people and dashboards are answered at once, callers that ask without pause have to wait."""

from hypothesis import given
from hypothesis import strategies as st

from edgekd.protocol.messages import Asked
from edgekd.protocol.rations import CALLERS, FILE_EVERY, FILES, PATIENCE, STATUS_EVERY, STATUSES, Rations


def test_several_that_ask_once_a_second_from_one_host_never_wait() -> None:
    rations = Rations()
    for second in range(1000):
        for _ in range(4):
            assert rations.wait("box-a", Asked.STATUS, second) == 0.0


def test_newcomers_that_begin_together_do_not_wait_though_somebody_else_asks_without_pause() -> None:
    rations = Rations()
    for _ in range(1000):
        rations.wait("stranger", Asked.PUBLIC, 0.0)
    assert [rations.wait("box-a", Asked.PUBLIC, 0.0) for _ in range(FILES)] == [0.0] * FILES


@given(st.lists(st.floats(0.0, 1.0), max_size=300))
def test_within_any_span_no_more_turns_are_given_than_the_burst_and_one_in_every_so_many_seconds(
    pauses: list[float],
) -> None:
    rations, now, turns = Rations(), 0.0, list[float]()
    for pause in pauses:
        now += pause
        wait = rations.wait(7, Asked.STATUS, now)
        if wait is not None:
            assert wait <= PATIENCE
            turns.append(now + wait)
    turns.sort()
    for first, begin in enumerate(turns):
        for last in range(first, len(turns)):
            assert last - first + 1 <= STATUSES + (turns[last] - begin) / STATUS_EVERY + 1.001


def test_long_file_counts_as_several() -> None:
    rations = Rations()
    assert rations.wait("a", Asked.PUBLIC, 0.0) == 0.0
    for _ in range(FILES + 1):
        rations.note_part("a")
    assert rations.wait("a", Asked.PUBLIC, 0.0) is None
    assert rations.wait("a", Asked.PUBLIC, 3 * FILE_EVERY) == 0.0


def test_strangers_without_number_take_no_memory() -> None:
    rations = Rations()
    for caller in range(2 * CALLERS):
        rations.wait(caller, Asked.STATUS, 0.0)
    assert len(rations._left) == CALLERS
