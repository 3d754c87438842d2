"""Latest wins; two in flight, and more over a long link."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from edgekd.protocol.board import ROUNDS
from edgekd.protocol.messages import Encoding, SoftPredictions
from edgekd.protocol.outbox import MOST, Outbox, payload

SIZE = 1600  # bytes


def frame(round: int) -> SoftPredictions:
    return SoftPredictions(round=round, encoding=Encoding.FLOAT16, heads=1, rows=80, classes=10, payload=bytes(SIZE))


def make_outbox(*, lockstep: bool = False, again: tuple[SoftPredictions, ...] = ()) -> Outbox[SoftPredictions]:
    return Outbox(lockstep=lockstep, size=payload, again=again)


def test_newer_frame_takes_the_place_of_one_that_still_waits_and_is_counted() -> None:
    outbox = make_outbox()
    assert outbox.put(frame(0)) == 0
    assert outbox.put(frame(1)) == 1
    assert outbox.take(0.0) == frame(1)
    assert outbox.take(0.0) is None


def carried(*, frames: float, answer: float, until: float) -> tuple[list[float], int]:
    """Simulate a link that carries `frames` frames a unit of time, with acknowledgements `answer` units later.

    A frame is published each unit. Returned are the time that each frame took, and the most frames in flight.
    """
    outbox, free, ages, most = make_outbox(), 0.0, [], 0
    due: list[tuple[float, float]] = []  # when the acknowledgement is here, and when the frame was published
    for tick in range(round(until * 10)):
        now = tick / 10
        while due and due[0][0] <= now:
            outbox.acked(now)
            ages.append(due[0][0] - due.pop(0)[1])
        if tick % 10 == 0:
            outbox.put(frame(tick))
            published = now
        while outbox.take(now) is not None:
            free = max(free, now) + 1 / frames
            due.append((free + answer, published))
        most = max(most, len(due))
    return ages, most


def test_narrow_link_carries_fresh_frames_of_which_few_are_in_flight() -> None:
    for frames in (0.05, 0.2, 0.5):
        ages, most = carried(frames=frames, answer=0.0, until=1000.0)
        assert most <= MOST // SIZE, "until the first acknowledgement nobody can know"
        settled = ages[2 * MOST // SIZE :]
        assert max(settled) <= 5 / frames + 1, (
            "two in flight, some more to see whether it has room, and the frame itself"
        )
        assert sorted(settled)[len(settled) // 2] <= 3 / frames + 1


def test_long_link_brings_frames_as_often_as_they_are_published() -> None:
    for answer in (5.0, 10.0, 18.0):
        ages, _ = carried(frames=100.0, answer=answer, until=200.0)
        assert len(ages) >= 200 - answer - 2
        assert max(ages) <= answer + 0.2
    ages, most = carried(frames=100.0, answer=100.0, until=1000.0)
    assert most == MOST // SIZE
    assert max(ages) <= 100.2 + 1.0, "none waits longer than for the next one"


def test_link_whose_way_has_become_longer_is_filled_again() -> None:
    outbox, answers, took, most = make_outbox(), deque[float](), 5.0, 0
    for number in range(1000):
        now = float(number)
        took = 5.0 if number < 100 else 15.0
        while answers and answers[0] <= now:
            answers.popleft()
            outbox.acked(now)
        outbox.put(frame(number))
        if outbox.take(now) is not None:
            answers.append(now + took)
        if number >= 900:
            most = max(most, len(answers))
    assert most >= 14


def test_link_that_becomes_narrow_has_two_in_flight_again() -> None:
    outbox = make_outbox()
    for round in range(10):
        outbox.put(frame(round))
        assert outbox.take(float(round)) is not None
    assert outbox.acked(10.0)  # on its way for 10
    for round in range(8):
        assert outbox.acked(26.0 + round)  # for 25, 26, ...
    outbox.put(frame(20))
    assert outbox.take(40.0) == frame(20)
    outbox.put(frame(21))
    assert outbox.take(40.0) is None
    assert outbox.acked(41.0)
    assert outbox.acked(50.0)  # for 10 again
    outbox.put(frame(22))
    outbox.take(50.0)
    for round in range(30, 30 + MOST // SIZE):
        outbox.put(frame(round))
        outbox.take(51.0)
    assert outbox.take(51.0) is None


def test_in_lockstep_nothing_is_replaced() -> None:
    outbox = make_outbox(lockstep=True)
    assert outbox.put(frame(0)) == 0
    assert outbox.put(frame(1)) == 0
    assert [outbox.take(0.0), outbox.take(0.0)] == [frame(0), frame(1)]


def test_in_lockstep_who_never_acknowledges_fills_no_memory() -> None:
    outbox = make_outbox(lockstep=True)
    assert [outbox.put(frame(round)) for round in range(ROUNDS + 2)] == [0] * ROUNDS + [1, 1]
    assert outbox.take(0.0) == frame(2)


def test_new_stream_starts_with_what_the_last_may_have_lost() -> None:
    outbox = make_outbox(lockstep=True, again=(frame(4), frame(5)))
    assert outbox.take(0.0) == frame(4)
    assert not outbox.empty
    assert outbox.take(0.0) == frame(5)
    assert outbox.empty


@given(st.lists(st.sampled_from(["put", "take", "ack"])))
def test_what_is_taken_is_always_the_newest_and_in_order(actions: list[str]) -> None:
    outbox, newest, taken, replaced = make_outbox(), -1, [], 0
    for action in actions:
        if action == "put":
            newest += 1
            replaced += outbox.put(frame(newest))
        elif action == "ack":
            outbox.acked(0.0)
        elif (got := outbox.take(0.0)) is not None:
            assert got.round == newest
            taken.append(got.round)
    assert taken == sorted(set(taken))
    assert replaced + len(taken) + (not outbox.empty) == newest + 1


def test_it_tells_an_acknowledgement_of_nothing() -> None:
    outbox = make_outbox()
    assert not outbox.acked(0.0)
    outbox.put(frame(1))
    outbox.take(0.0)
    assert outbox.acked(0.0)
    assert not outbox.acked(0.0)
