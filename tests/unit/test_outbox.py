"""Latest wins, two in flight."""

from hypothesis import given
from hypothesis import strategies as st

from edgekd.protocol.board import ROUNDS
from edgekd.protocol.messages import Encoding, SoftPredictions
from edgekd.protocol.outbox import WINDOW, Outbox


def frame(round: int) -> SoftPredictions:
    return SoftPredictions(round=round, encoding=Encoding.FLOAT16, heads=1, rows=1, classes=2, payload=b"....")


def test_newer_frame_takes_the_place_of_one_that_still_waits_and_is_counted() -> None:
    outbox = Outbox(lockstep=False)
    assert outbox.put(frame(0)) == 0
    assert outbox.put(frame(1)) == 1
    assert outbox.take() == frame(1)
    assert outbox.take() is None


def test_none_is_sent_while_two_are_unacknowledged() -> None:
    outbox = Outbox(lockstep=False)
    for round in range(WINDOW):
        outbox.put(frame(round))
        assert outbox.take() == frame(round)
    outbox.put(frame(9))
    assert outbox.take() is None
    outbox.acked()
    assert outbox.take() == frame(9)


def test_in_lockstep_nothing_is_replaced() -> None:
    outbox = Outbox(lockstep=True)
    assert outbox.put(frame(0)) == 0
    assert outbox.put(frame(1)) == 0
    assert [outbox.take(), outbox.take()] == [frame(0), frame(1)]


def test_in_lockstep_who_never_acknowledges_fills_no_memory() -> None:
    outbox = Outbox(lockstep=True)
    assert [outbox.put(frame(round)) for round in range(ROUNDS + 2)] == [0] * ROUNDS + [1, 1]
    assert outbox.take() == frame(2)


def test_new_stream_starts_with_what_the_last_may_have_lost() -> None:
    outbox = Outbox(lockstep=True, again=(frame(4), frame(5)))
    assert outbox.take() == frame(4)
    assert not outbox.empty
    assert outbox.take() == frame(5)
    assert outbox.empty


@given(st.lists(st.sampled_from(["put", "take", "ack"])))
def test_what_is_taken_is_always_the_newest_and_in_order(actions: list[str]) -> None:
    outbox, newest, taken, replaced = Outbox(lockstep=False), -1, [], 0
    for action in actions:
        if action == "put":
            newest += 1
            replaced += outbox.put(frame(newest))
        elif action == "ack":
            outbox.acked()
        elif (got := outbox.take()) is not None:
            assert got.round == newest
            taken.append(got.round)
    assert taken == sorted(set(taken))
    assert replaced + len(taken) + (not outbox.empty) == newest + 1


def test_it_tells_an_acknowledgement_of_nothing() -> None:
    outbox = Outbox(lockstep=False)
    assert not outbox.acked()
    outbox.put(frame(1))
    outbox.take()
    assert outbox.acked()
    assert not outbox.acked()
