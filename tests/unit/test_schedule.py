"""The peer's step and the group's round: which round a peer publishes next, whatever its neighbours claim."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.protocol.members import Member
from edgekd.protocol.messages import MAX_ROUND
from edgekd.protocol.schedule import HALFWAY, REACH, STRIDE, heard_round, is_due, lockstep_round, next_round

FAR = 10**15


def group(*rounds: int, up: bool = True) -> list[Member]:
    """Neighbours that have published these rounds."""
    return [
        Member(id=id, instance=1, address="", up=up, last_heard=0.0, round=round) for id, round in enumerate(rounds, 1)
    ]


def test_first_broadcast_of_a_lone_peer_is_round_zero_and_each_next_one_further() -> None:
    assert next_round(-1, []) == 0
    assert next_round(0, []) == 1
    assert next_round(0, group(-1, -1)) == 1, "who has published nothing says nothing"


def test_peer_follows_the_fastest_of_its_neighbours() -> None:
    assert next_round(3, group(2, 9)) == 9
    assert next_round(9, group(2, 9)) == 10


def test_no_neighbour_leads_a_peer_away_from_the_others_in_steps_of_the_reach() -> None:
    own = 10
    for _ in range(5):  # a peer that takes many steps while its honest neighbours take none
        own = next_round(own, group(10, 12, own + REACH))
    assert own <= 10 + REACH + 5


def test_claim_of_round_zero_does_not_part_two_honest_peers() -> None:
    assert next_round(3 * REACH, group(3 * REACH + 50, 0)) == 3 * REACH + 50


def test_neighbours_that_are_down_do_not_count() -> None:
    assert next_round(3, group(50, 60, up=False)) == 4


@pytest.mark.parametrize("honest", [2, 3, 5])
def test_newcomer_joins_a_group_of_two_or_more_at_once_however_far_it_is(honest: int) -> None:
    assert FAR <= next_round(-1, group(*range(FAR, FAR + honest))) < FAR + honest


def test_single_neighbour_beyond_reach_is_not_followed_in_part_either() -> None:
    assert next_round(10, group(10 + REACH)) == 10 + REACH
    assert next_round(10, group(11 + REACH)) == 11


@pytest.mark.parametrize("honest", [1, 2, 3, 5])
@pytest.mark.parametrize("claim", [FAR, MAX_ROUND - 1])
def test_far_claim_of_one_liar_changes_nothing(honest: int, claim: int) -> None:
    rounds = list(range(20, 20 + honest))
    assert next_round(20, group(*rounds, claim)) == next_round(20, group(*rounds))


def test_majority_of_liars_leaves_rounds_to_go_on_with() -> None:
    own = 10
    for _ in range(1000):
        own = next_round(own, group(11, MAX_ROUND - 1, MAX_ROUND - 1))
    assert own <= HALFWAY + 1000 * STRIDE
    assert next_round(own, group(own)) == own + 1


@pytest.mark.parametrize("beyond", [0, REACH, 3 * REACH])
def test_newcomer_joins_a_group_that_was_carried_off_by_strides(beyond: int) -> None:
    far = HALFWAY + beyond
    own = next_round(-1, group(far, far + 1))
    assert own == HALFWAY
    for _ in range(beyond // STRIDE + 1):
        own = next_round(own, group(far, far + 1))
    assert own >= far


def test_peers_of_different_speed_that_were_carried_off_stay_within_reach_of_one_another() -> None:
    liars = [MAX_ROUND - 1, MAX_ROUND - 1]
    slow = fast = 10
    for _ in range(100):
        slow = next_round(slow, group(fast, *liars))
        for _ in range(3):
            fast = next_round(fast, group(slow, *liars))
    assert next_round(slow, group(fast)) >= fast


rounds_of = st.lists(st.integers(0, 2**40), min_size=2, max_size=8)


@given(st.integers(-1, 2**40), rounds_of, st.integers(0, MAX_ROUND - 1))
def test_whatever_one_neighbour_claims_beyond_reach_the_round_stays_where_the_others_are(
    own: int, honest: list[int], claim: int
) -> None:
    found = next_round(own, group(*honest, claim))
    assert own < found < MAX_ROUND
    assert found <= max(own + REACH, *honest)


@given(st.integers(-1, MAX_ROUND - 2), st.lists(st.integers(-1, MAX_ROUND - 1), max_size=8))
def test_published_rounds_grow_and_stay_below_the_limit(own: int, rounds: list[int]) -> None:
    assert own < next_round(own, group(*rounds)) < MAX_ROUND


@given(st.permutations(group(5, 7, 7, 30, FAR)))
def test_order_of_the_neighbours_does_not_matter(members: list[Member]) -> None:
    assert heard_round(4, members) == 30


def test_broadcasts_are_due_every_n_steps_and_lockstep_rounds_follow_them() -> None:
    assert [step for step in range(7) if is_due(step, 3)] == [0, 3, 6]
    assert [lockstep_round(step, 3) for step in range(7)] == [0, 0, 0, 1, 1, 1, 2]
