"""Two counters, the peer's step and the group's round."""

from hypothesis import given
from hypothesis import strategies as st

from edgekd.protocol.messages import MAX_ROUND
from edgekd.protocol.schedule import Rounds, is_due, lockstep_round


def test_first_broadcast_of_a_lone_peer_is_round_zero_and_each_next_one_further() -> None:
    rounds = Rounds().advance()
    assert rounds.published == 0
    assert rounds.advance().published == 1


def test_late_joiner_talks_about_the_newest_round_that_it_has_heard_of() -> None:
    rounds = Rounds().hear(500).advance()
    assert rounds.published == 500
    assert rounds.advance().published == 501


def test_hearing_an_older_round_changes_nothing() -> None:
    rounds = Rounds(published=3, heard=9)
    assert rounds.hear(4) == rounds


@given(st.lists(st.one_of(st.none(), st.integers(0, MAX_ROUND - 1))))
def test_published_rounds_only_grow_and_stay_below_the_limit(events: list[int | None]) -> None:
    rounds = Rounds()
    for heard in events:
        before = rounds
        rounds = rounds.advance() if heard is None else rounds.hear(heard)
        if heard is None and before.published < MAX_ROUND - 1:
            assert rounds.published > before.published
        assert rounds.newest < MAX_ROUND


def test_broadcasts_are_due_every_n_steps_and_lockstep_rounds_follow_them() -> None:
    assert [step for step in range(7) if is_due(step, 3)] == [0, 3, 6]
    assert [lockstep_round(step, 3) for step in range(7)] == [0, 0, 0, 1, 1, 1, 2]
