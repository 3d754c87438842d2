"""What a watcher knows of a group after answers and silences, the events that follow, and the curves that it keeps."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hellos import hello
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgekd.protocol.messages import Neighbour, Status
from peer.dashboard.event_log import MOST, OF_ONE, TOGETHER, Event, Kind, changes, noted
from peer.dashboard.group import (
    DOWN_AFTER,
    EVERY,
    FORGOTTEN_AFTER,
    KEPT,
    MOST_PEERS,
    Condition,
    Group,
    asked,
    begin,
    due,
    on_answer,
    on_failure,
    on_tick,
    rates,
    reaches,
)
from peer.dashboard.history import MOST_POINTS, QUANTITIES, History, extended, sampled

WHERE = [f"127.0.0.1:{7000 + id}" for id in range(4)]
ACCURACY = QUANTITIES[0]


def neighbour(id: int, **changes: object) -> Neighbour:
    base = Neighbour(id=id, address=WHERE[id % 4], up=True, step=5, age=1, replaced=0, bytes_sent=0, bytes_received=0)
    return replace(base, **changes)  # type: ignore[arg-type]


def status(id: int, *neighbours: Neighbour, **changes: object) -> Status:
    base = Status(
        id=id,
        state="training",
        step=10,
        steps=100,
        round=9,
        accuracy=0.5,
        bytes_sent=0,
        bytes_received=0,
        refused={},
        neighbours=neighbours,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def answered(group: Group, id: int, now: float, *neighbours: Neighbour, instance: int = 1, **changes: object) -> Group:
    return on_answer(group, WHERE[id], hello(id, instance), status(id, *neighbours, **changes), now)


def texts(before: Group, after: Group, now: float) -> list[str]:
    return [event.text for event in changes(before, after, now)]


# -- who is there -----------------------------------------------------------------------------------------------------


def test_whole_group_is_found_from_one_address() -> None:
    group = begin([WHERE[0]], 0.0)
    assert [each.address for each in due(group, 0.0)] == [WHERE[0]]
    group = answered(group, 0, 0.1, neighbour(1), neighbour(2))
    assert {id: peer.condition for id, peer in group.peers.items()} == {
        0: Condition.UP,
        1: Condition.HEARSAY,
        2: Condition.HEARSAY,
    }
    assert [(each.address, each.id) for each in due(group, 0.2)] == [(WHERE[1], 1), (WHERE[2], 2)]
    for id in (1, 2):
        group = answered(group, id, 0.3, neighbour(0))
    assert all(peer.condition is Condition.UP for peer in group.peers.values())


def test_place_is_not_asked_again_while_a_question_is_open_and_every_second_afterwards() -> None:
    group = begin([WHERE[0]], 0.0)
    group = asked(group, due(group, 0.0), 0.0, patience=9.0)
    assert due(group, 5.0) == []
    group = answered(group, 0, 5.0)
    assert due(group, 5.0 + EVERY - 0.01) == []
    assert len(due(group, 5.0 + EVERY)) == 1


def test_silent_peer_is_gone_after_four_seconds_since_its_last_answer() -> None:
    group = answered(begin([WHERE[0]], 0.0), 0, 10.0)
    for late in (11.0, 12.0, 13.0):
        group = on_tick(on_failure(group, WHERE[0], "connection refused", late), late)
    assert group.peers[0].condition is Condition.UP
    before, group = group, on_tick(group, 10.0 + DOWN_AFTER)
    assert (group.peers[0].condition, group.peers[0].since) == (Condition.GONE, 10.0)
    assert texts(before, group, 14.0) == ["peer 0 does not answer: connection refused"]
    assert due(group, 20.0) != []  # it is still asked


def test_same_process_that_answers_again_is_up_and_not_resumed() -> None:
    gone = on_tick(answered(begin([WHERE[0]], 0.0), 0, 10.0), 15.0)
    back = answered(gone, 0, 22.0)
    assert back.peers[0].condition is Condition.UP
    assert texts(gone, back, 22.0) == ["peer 0 answers again, after 12 s without an answer"]


@pytest.mark.parametrize(("first", "words"), [(40, "at step 40"), (0, "from the beginning")])
def test_other_instance_of_a_peer_was_started_again(first: int, words: str) -> None:
    before = answered(begin([WHERE[0]], 0.0), 0, 10.0, bytes_sent=900)
    after = answered(before, 0, 11.0, instance=2, step=41, first_step=first)
    assert texts(before, after, 11.0) == [f"peer 0 was started again, {words}"]
    assert len(after.peers[0].answers) == 1  # no rate is made of counts of two processes


def test_another_peer_at_an_address_that_others_have_named_is_watched() -> None:
    group = answered(begin([WHERE[0]], 0.0), 0, 0.0, neighbour(1))
    group = answered(group, 1, 1.0, neighbour(0))
    group = on_tick(on_failure(group, WHERE[1], "connection refused", 9.0), 9.0)
    group = answered(group, 0, 9.0, neighbour(1, up=False), replace(neighbour(3), address=WHERE[1]))
    assert group.places[WHERE[1]].id == 3, "with keys it has to prove that id"
    group = on_answer(group, WHERE[1], hello(3, 1), status(3, neighbour(0)), 10.0)
    assert group.peers[3].condition is Condition.UP
    assert group.peers[1].condition is Condition.GONE


def test_peer_that_answers_takes_the_place_of_one_that_others_have_only_named() -> None:
    named = [replace(neighbour(100 + i), address=f"127.0.0.1:{10_000 + i}") for i in range(MOST_PEERS)]
    group = answered(begin([WHERE[0], WHERE[1]], 0.0), 0, 0.0, *named)
    assert len(group.peers) == MOST_PEERS
    group = answered(group, 1, 1.0)
    assert group.peers[1].condition is Condition.UP
    assert len(group.peers) == MOST_PEERS


def test_peer_that_comes_back_at_another_address_is_the_same_one() -> None:
    group = on_tick(answered(begin([WHERE[0], WHERE[3]], 0.0), 0, 10.0), 20.0)
    group = on_answer(group, WHERE[3], hello(0, 2), status(0), 21.0)
    assert (group.peers[0].condition, group.peers[0].address) == (Condition.UP, WHERE[3])


def test_second_address_of_a_peer_makes_no_second_peer_and_is_asked_seldom() -> None:
    group = answered(begin([WHERE[0], "localhost:7000"], 0.0), 0, 1.0)
    group = on_answer(group, "localhost:7000", hello(0, 1), status(0), 1.1)
    assert list(group.peers) == [0]
    assert [each.address for each in due(group, 3.0)] == [WHERE[0]]


def test_two_live_peers_of_one_id_are_told_apart() -> None:
    group = answered(begin(WHERE[:2], 0.0), 0, 1.0)
    group = on_answer(group, WHERE[1], hello(0, 99), status(0), 1.1)
    assert group.places[WHERE[1]].why == f"another peer 0 answers at {WHERE[0]}"
    assert group.peers[0].address == WHERE[0]


def test_other_peer_than_the_expected_one_is_not_taken_for_it() -> None:
    group = answered(begin([WHERE[0]], 0.0), 0, 1.0, neighbour(1))
    group = on_answer(group, WHERE[1], hello(7, 7), status(7), 1.1)
    assert group.peers[1].condition is Condition.HEARSAY
    assert 7 not in group.peers
    assert "peer 7 answers" in group.peers[1].why


def test_what_others_name_no_more_is_forgotten_and_what_the_user_gave_is_not() -> None:
    group = answered(begin([WHERE[0], WHERE[3]], 0.0), 0, 1.0, neighbour(1))
    for late in range(FORGOTTEN_AFTER):
        group = on_failure(on_failure(group, WHERE[1], "no", 1.0 + late), WHERE[3], "no", 1.0 + late)
    group = on_tick(answered(group, 0, 2.0), 2.1)
    assert list(group.peers) == [0]
    assert list(group.places) == [WHERE[0], WHERE[3]]


@pytest.mark.parametrize(
    ("by", "address", "may"),
    [
        ("10.0.0.5:7000", "10.0.0.6:7000", True),
        ("127.0.0.1:7000", "127.0.0.1:7001", True),
        ("10.0.0.5:7000", "127.0.0.1:7001", False),  # that is the other box's own
        ("10.0.0.5:7000", "a-long-name...", False),
        ("10.0.0.5:7000", "10.0.0.6:0", False),
    ],
)
def test_loopback_of_another_box_is_not_asked(by: str, address: str, may: bool) -> None:
    assert reaches(by, address) is may


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["answer", "fail", "tick"]), st.integers(0, 3), st.integers(1, 3)), max_size=40)
)
def test_whatever_comes_every_peer_has_one_condition_that_fits_what_is_known(
    history: list[tuple[str, int, int]],
) -> None:
    group, now = begin(WHERE, 0.0), 0.0
    for what, id, instance in history:
        now += 0.7
        before = group
        if what == "answer":
            group = answered(group, id, now, neighbour((id + 1) % 4), instance=instance)
        elif what == "fail":
            group = on_failure(group, WHERE[id], "no", now)
        else:
            group = on_tick(group, now)
        changes(before, group, now)  # has words for all of it
        for peer in group.peers.values():
            assert (peer.condition is Condition.HEARSAY) == (peer.status is None)
            assert len(peer.answers) <= KEPT
            assert len({answer.hello.instance for answer in peer.answers}) <= 1
            if what == "tick" and peer.condition is Condition.UP:
                assert now - peer.answers[-1].at < DOWN_AFTER
        assert set(WHERE) <= set(group.places)


def test_strangers_in_an_answer_cannot_fill_the_memory() -> None:
    many = [neighbour(id, address=f"10.0.{id // 250}.{id % 250}:7000") for id in range(1, 4000)]
    group = answered(begin([WHERE[0]], 0.0), 0, 1.0, *many)
    assert len(group.peers) == MOST_PEERS
    assert len(group.places) <= 512


# -- what is made of the numbers ---------------------------------------------------------------------------------------


def test_rate_is_over_the_kept_answers_and_per_neighbour() -> None:
    group = begin([WHERE[0]], 0.0)
    for second in range(8):
        group = answered(group, 0, float(second), neighbour(1, bytes_sent=100 * second, bytes_received=50 * second))
    assert rates(group.peers[0]) == {1: pytest.approx(150.0)}
    assert rates(on_tick(group, 60.0).peers[0]) == {}


# -- what has happened -------------------------------------------------------------------------------------------------


def test_events_of_a_status() -> None:
    before = answered(begin([WHERE[0]], 0.0), 0, 1.0, neighbour(1), neighbour(2, up=False), refused={"old": 2})
    after = answered(
        before,
        0,
        2.0,
        neighbour(1, up=False),
        neighbour(2),
        refused={"old": 2, "contract": 3, "cut-off": 1},
        failing=("checkpoint",),
        state="lingering",
    )
    assert texts(before, after, 2.0) == [
        "peer 0: lingering at step 10",
        "peer 0 has refused 3 times: contract",
        "peer 0 has cut off a neighbour once: it sent too much that was refused",
        "peer 0 cannot write checkpoint",
        "peer 1 is down for 0",
        "peer 2 is up for 0",
    ]
    well = answered(after, 0, 3.0, neighbour(1, up=False), neighbour(2), refused=after.peers[0].status.refused)  # type: ignore[union-attr]
    assert "peer 0 can write checkpoint again" in texts(after, well, 3.0)


def test_what_many_peers_say_of_one_is_told_once() -> None:
    said = [Event(at=id / 10, kind=Kind.DOWN, about=9, by=(id,)) for id in range(8)]
    (event,) = noted((), said)
    assert event.text == "peer 9 is down for 0, 1, 2, 3 and 4 more"
    late = Event(at=said[0].at + TOGETHER + 1, kind=Kind.DOWN, about=9, by=(0,))
    assert len(noted((event,), [late])) == 2


def test_peer_that_ends_after_its_steps_is_no_peer_that_does_not_answer() -> None:
    group = answered(begin([WHERE[0]], 0.0), 0, 10.0, step=100)
    (event,) = changes(group, on_tick(group, 20.0), 20.0)
    assert (event.kind, event.text) == (Kind.ENDED, "peer 0 has ended: it had done its steps")


@pytest.mark.parametrize("every", [TOGETHER / 2, 3 * TOGETHER])
def test_peer_that_refuses_steadily_pushes_out_nothing_else(every: float) -> None:
    log = noted((), [Event(at=0.0, kind=Kind.RESUMED, about=1, detail="at step 5")])
    for number in range(2 * MOST):
        log = noted(log, [Event(at=every * number, kind=Kind.REFUSED, about=2, detail="old", count=3)])
    assert [event.text for event in log[:1]] == ["peer 1 was started again, at step 5"]
    assert len(log) == 1 + (1 if every <= TOGETHER else OF_ONE)
    assert log[-1].at == every * (2 * MOST - 1)
    if every <= TOGETHER:
        assert (log[-1].text, log[-1].since) == (f"peer 2 has refused {6 * MOST} times: old", 0.0)


@pytest.mark.parametrize(
    ("kind", "count", "text"),
    [
        (Kind.REFUSED, 1, "peer 0 has refused once: old"),
        (Kind.REFUSED, 2, "peer 0 has refused 2 times: old"),
        (Kind.CUT_OFF, 2, "peer 0 has cut off a neighbour 2 times: it sent too much that was refused"),
    ],
)
def test_event_says_how_often(kind: Kind, count: int, text: str) -> None:
    assert Event(at=0.0, kind=kind, about=0, detail="old", count=count).text == text


@settings(deadline=None, max_examples=30)
@given(number=st.integers(0, 900), seed=st.integers(0))
@example(number=900, seed=0)
def test_log_is_bounded_ordered_and_loses_nothing_before(number: int, seed: int) -> None:
    draw, now, log = random.Random(seed), 0.0, ()
    for count in range(1, number + 1):
        now += draw.uniform(0, 5)
        before = log
        log = noted(log, [Event(at=now, kind=draw.choice(list(Kind)), about=draw.randrange(8))])
        of_one = Counter((event.kind, event.about) for event in log)
        assert len(log) <= MOST
        assert max(of_one.values()) <= OF_ONE
        assert [event.at for event in log] == sorted(event.at for event in log)
        if len(before) < MOST and OF_ONE not in of_one.values():
            assert sum(event.count for event in log) == count
    assert number < 900 or len(log) == MOST


# -- curves ------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(number=st.integers(1, 4 * MOST_POINTS), seed=st.integers(0))
@example(number=4 * MOST_POINTS, seed=0)
def test_curve_is_bounded_ascends_and_keeps_both_ends(number: int, seed: int) -> None:
    draw = random.Random(seed)
    gaps = [draw.randint(1, 40) for _ in range(number)]
    curve: tuple[tuple[int, float], ...] = ()
    step = 0
    for gap in gaps:
        step += gap
        curve = extended(curve, step, float(step))
    steps = [point[0] for point in curve]
    assert len(curve) <= MOST_POINTS
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (gaps[0], step)
    few = sampled(curve, 20)
    assert len(few) <= 20
    assert (few[0], few[-1]) == (curve[0], curve[-1])


def test_peer_that_goes_back_to_a_checkpoint_draws_over_what_it_does_again() -> None:
    history = History()
    for step, accuracy in ((10, 0.1), (20, 0.2), (30, 0.3), (21, 0.25)):
        history.note(status(0, step=step, accuracy=accuracy))
    assert history.curve(0, ACCURACY) == ((10, 0.1), (20, 0.2), (21, 0.25))
    history.keep([1])
    assert history.curve(0, ACCURACY) == ()


def test_what_a_peer_does_not_say_is_not_drawn() -> None:
    history = History()
    history.note(status(0, accuracy=None))
    assert [history.curve(0, quantity) for quantity in QUANTITIES] == [(), (), (), ()]


def test_peer_that_is_starting_again_counts_no_lessons_until_it_goes_on() -> None:
    history, lessons = History(), QUANTITIES[3]
    history.note(status(0, step=20, lessons=19, first_step=0))
    history.note(status(0, step=20, state="starting"))
    history.note(status(0, step=21, lessons=20, first_step=20))
    assert history.curve(0, lessons) == ((20, 19.0), (21, 20.0))
