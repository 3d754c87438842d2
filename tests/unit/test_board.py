"""Which lesson a step learns from."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.protocol.board import Board

PROBS = torch.full((1, 2, 3), 1 / 3)


def board(max_age: int = 64, rounds: int = 16) -> Board:
    return Board(max_age=max_age, rounds=rounds)


def picked(b: Board, step: int, trust: dict[int, float] | None = None) -> tuple[int, list[int]] | None:
    lesson = b.pick(step, trust or {})
    return None if lesson is None else (lesson.round, list(lesson.teachers))


def test_empty_board_gives_no_lesson() -> None:
    assert board().pick(0, {}) is None
    assert board().peek(0, {}) is None
    assert board().pick_round(0, 0) is None


def test_round_with_most_teachers_is_picked_before_a_later_one_with_fewer() -> None:
    b = board()
    b.post(1, 7, 4, PROBS, step=0)
    b.post(2, 8, 4, PROBS, step=0)
    b.post(1, 7, 5, PROBS, step=1)
    lesson = b.pick(1, {})
    assert lesson is not None
    assert (lesson.round, list(lesson.teachers), lesson.fresh) == (4, [1, 2], True)


def test_of_rounds_with_as_many_teachers_the_latest_arrived_is_picked() -> None:
    b = board()
    b.post(2, 8, 9, PROBS, step=0)
    b.post(1, 7, 3, PROBS, step=0)
    assert picked(b, 0) == (3, [1])


def test_of_rounds_with_as_many_teachers_those_come_first_who_were_learned_from_longest_ago() -> None:
    b = board()
    b.post(1, 7, 0, PROBS, step=0)
    assert picked(b, 0) == (0, [1])
    b.post(2, 8, 5, PROBS, step=1)
    b.post(1, 7, 6, PROBS, step=1)
    assert picked(b, 1) == (5, [2])
    assert picked(b, 1) == (6, [1])


def test_rounds_are_ranked_by_the_sum_of_their_teachers_trust() -> None:
    b = board()
    for peer, round in ((1, 3), (2, 3), (3, 4)):
        b.post(peer, 7, round, PROBS, step=0)
    lesson = b.pick(0, {1: 0.3, 2: 0.3, 3: 1.0})
    assert lesson is not None
    assert (lesson.round, lesson.trust) == (4, 1.0)
    lesson = b.pick(0, {1: 0.3, 2: 0.2, 3: 1.0})
    assert lesson is not None
    assert (lesson.round, lesson.trust) == (3, 0.3), "its most trusted teacher's"


def test_distrusted_neighbour_makes_nothing_fresh_and_no_lesson_of_its_own() -> None:
    b = board()
    trust = {9: 0.05}
    b.post(1, 7, 0, PROBS, step=0)
    for round in range(100, 110):
        b.post(9, 7, round, PROBS, step=0)
    assert [picked(b, 0, trust) for _ in range(3)] == [(0, [1])] * 3, "again, although the liar's are newer"
    b.post(9, 7, 200, PROBS, step=1)
    b.post(1, 7, 200, PROBS, step=1)
    assert picked(b, 1, trust) == (200, [1, 9]), "where a trusted one speaks too it is among the teachers"


def test_without_any_trusted_neighbour_there_is_no_lesson() -> None:
    b = board()
    b.post(9, 7, 0, PROBS, step=0)
    assert b.pick(0, {9: 0.05}) is None
    assert b.pick(0, {9: 0.5}) is not None


def test_learned_from_rounds_come_after_new_ones_and_again_when_nothing_is_new() -> None:
    b = board()
    b.post(1, 7, 0, PROBS, step=0)
    b.post(2, 8, 0, PROBS, step=0)
    b.post(1, 7, 1, PROBS, step=0)
    picked = [b.pick(0, {}) for _ in range(3)]
    assert [lesson and (lesson.round, lesson.fresh) for lesson in picked] == [(0, True), (1, True), (1, False)]


def test_late_second_teacher_makes_a_used_round_fresh_again() -> None:
    b = board()
    b.post(1, 7, 0, PROBS, step=0)
    assert b.pick(0, {}) is not None
    b.post(2, 8, 0, PROBS, step=1)
    lesson = b.pick(1, {})
    assert lesson is not None
    assert (lesson.fresh, list(lesson.teachers)) == (True, [1, 2])


def test_frame_serves_until_max_age_and_not_a_step_longer() -> None:
    b = board(max_age=5)
    b.post(1, 7, 0, PROBS, step=10)
    lesson = b.pick(15, {})
    assert lesson is not None
    assert lesson.age == 5
    assert b.pick(16, {}) is None


def test_round_not_above_the_last_of_the_same_instance_is_ignored() -> None:
    b = board()
    assert b.post(1, 7, 5, PROBS, step=0)
    assert not b.post(1, 7, 5, PROBS, step=0)
    assert not b.post(1, 7, 4, PROBS, step=0)
    assert b.post(1, 99, 4, PROBS, step=0), "another instance starts over"
    assert b.last_round(1) == 4


def test_teachers_come_in_the_order_of_their_ids_whatever_the_order_of_arrival() -> None:
    b = board()
    for peer in (3, 1, 2):
        b.post(peer, 7, 0, PROBS, step=0)
    lesson = b.pick_round(0, 0)
    assert lesson is not None
    assert list(lesson.teachers) == [1, 2, 3]


def test_synchronous_lesson_holds_exactly_this_round() -> None:
    b = board()
    b.post(1, 7, 3, PROBS, step=3)
    b.post(2, 8, 4, PROBS, step=3)
    lesson = b.pick_round(4, 4)
    assert lesson is not None
    assert list(lesson.teachers) == [2]


def test_strangers_without_number_do_not_fill_the_board() -> None:
    b = Board(max_age=64, neighbours=3)
    for peer in range(10):
        b.post(peer, 7, 0, PROBS, step=0)
    lesson = b.pick(0, {})
    assert lesson is not None
    assert list(lesson.teachers) == [7, 8, 9]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 2), st.integers(0, 60), st.integers(0, 3)), min_size=1, max_size=120
    )
)
def test_whatever_arrives_memory_stays_bounded_and_picks_are_within_age(posts: list[tuple[int, int, int, int]]) -> None:
    b, step = board(max_age=10, rounds=4), 0
    for peer, instance, round, pause in posts:
        step += pause
        arrived = b.post(peer, instance, round, PROBS, step)
        peeked = b.peek(step, {})
        lesson = b.pick(step, {})
        within_age = any(step - f.arrived <= 10 for n in b._neighbours.values() for f in n.frames.values())
        assert within_age == (lesson is not None)
        assert within_age or not arrived, "what has just arrived is within age"
        assert (None if lesson is None else lesson.round) == peeked
        assert lesson is None or 0 <= lesson.age <= 10
    assert all(len(neighbour.frames) <= 4 for neighbour in b._neighbours.values())
