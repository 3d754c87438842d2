"""The exchange algorithm by itself: no network, no clock, no learner."""

import math
from dataclasses import replace

import torch

from edgekd.config import from_mapping
from edgekd.protocol.counts import Counts
from edgekd.protocol.exchange import Exchange, Rest, Start, Teach
from edgekd.protocol.members import Member

PROBS = torch.full((1, 2, 3), 1 / 3)


def exchange(steps: int = 10, *, alpha: float = 0.5, alone_until: int = 0, **settings: object) -> Exchange:
    given = {name: value for name, value in settings.items() if value is not None}
    tables = {"train": {"steps": steps}, "distill": {"alpha": alpha}, "exchange": given}
    return Exchange(from_mapping(tables), alone_until=alone_until)


def member(id: int, round: int = -1, **more: object) -> Member:
    found = Member(id=id, instance=1, address="", up=True, last_heard=0.0, round=round, steps=10)
    return replace(found, **more)  # type: ignore[arg-type]


def post(e: Exchange, peer: int, round: int, step: int = 0) -> None:
    e.post(peer, 1, round, PROBS, step)


# -- before the first step ---------------------------------------------------------------------------------------------


def test_peer_begins_when_as_many_neighbours_are_up_as_it_waits_for_its_own_addresses_among_them() -> None:
    e = exchange(wait_for=2)
    assert e.may_begin([member(1)], waited=0.0) is Start.WAIT
    assert e.may_begin([member(1)], own_addresses=1, waited=0.0) is Start.NOW
    assert e.may_begin([member(1), member(2, up=False)], waited=0.0) is Start.WAIT
    assert e.may_begin([member(1), member(2)], waited=0.0) is Start.NOW


def test_asynchronous_peer_begins_without_its_neighbours_after_two_minutes_and_a_synchronous_one_never() -> None:
    assert exchange(wait_for=2).may_begin([], waited=120.0) is Start.SHORT
    assert exchange(wait_for=2, sync=5.0).may_begin([], waited=1e9) is Start.WAIT


def test_resumed_synchronous_peer_waits_for_ever_only_where_a_lesson_may() -> None:
    for sync, timeout in ((5.0, 120.0), (math.inf, math.inf)):
        e = exchange(sync=sync)
        e.resume(3, Counts())
        assert e.start_timeout == timeout


def test_who_joins_a_group_in_lockstep_late_begins_at_once_since_it_is_waited_for() -> None:
    assert exchange(wait_for=2, sync=5.0).may_begin([member(1, round=1)], waited=0.0) is Start.NOW
    assert exchange(wait_for=2).may_begin([member(1, round=1)], waited=0.0) is Start.WAIT


def test_peer_that_has_done_its_steps_already_waits_for_nobody() -> None:
    e = exchange(steps=5, wait_for=2)
    e.resume(5, Counts())
    assert e.may_begin([], waited=0.0) is Start.NOW


# -- a step ------------------------------------------------------------------------------------------------------------


def test_asynchronous_peer_teaches_every_n_steps_and_follows_its_neighbours() -> None:
    e = exchange(broadcast_every=3)
    assert [e.teach(step, []) for step in range(4)] == [Teach(0), None, None, Teach(1)]
    assert e.teach(6, [member(1, round=40)]) == Teach(40)
    assert e.published == 40


def test_forward_pass_is_kept_where_the_round_taught_will_be_the_lesson() -> None:
    e = exchange()
    post(e, 1, 0)
    assert e.teach(0, []) == Teach(0, keep=True)
    only_teaches = exchange(alpha=1.0)
    post(only_teaches, 1, 0)
    assert only_teaches.teach(0, []) == Teach(0, keep=False)
    assert only_teaches.lesson(0, []) is None


def test_restored_peer_does_not_claim_its_old_round() -> None:
    e = exchange(steps=200)
    e.resume(100, Counts())
    assert e.published == -1
    assert e.teach(100, [member(1, round=7), member(2, round=8)]) == Teach(8)


def test_lockstep_round_is_the_steps_and_follows_nobody() -> None:
    e = exchange(sync=math.inf, broadcast_every=2)
    assert e.teach(0, [member(1, round=1000)]) == Teach(0, keep=True)
    assert e.teach(1, [member(1, round=1000)]) is None
    assert e.teach(2, []) == Teach(1, keep=True)


def test_who_is_restarted_in_lockstep_teaches_at_once_what_the_others_wait_for() -> None:
    e = exchange(sync=math.inf, broadcast_every=4)
    e.resume(6, Counts())
    assert e.teach(6, []) == Teach(1, keep=True)
    assert e.teach(7, []) is None


def test_in_lockstep_live_neighbours_are_awaited_until_their_predictions_of_this_round_are_there() -> None:
    e = exchange(sync=math.inf)
    group = [member(1), member(2)]
    assert e.awaits(3, group) == {1, 2}
    post(e, 1, 3, step=3)
    assert e.awaits(3, group) == {2}
    assert e.awaits(3, [member(1), member(2, done=True)]) == set()
    assert e.awaits(3, [member(1), member(2, up=False)]) == set()
    assert e.awaits(3, [member(1), member(2, unsound=True)]) == set()
    post(e, 2, 4, step=3)
    assert e.awaits(3, group) == set(), "who is past this round is not waited for"


def test_asking_whom_to_wait_for_changes_nothing() -> None:
    e = exchange(sync=math.inf)
    answers = [e.awaits(0, [member(1)]) for _ in range(3)]
    assert answers == [{1}] * 3
    assert e.counts == Counts()


def test_wait_of_a_lesson_has_the_limit_of_sync_and_counts_what_it_did_without() -> None:
    e = exchange(sync=5.0)
    group = [member(1), member(2)]
    post(e, 1, 0)
    assert e.awaits(0, group, waited=4.9) == {2}
    assert e.awaits(0, group, waited=5.0) == set()
    lesson = e.lesson(0, group)
    assert lesson is not None
    assert list(lesson.teachers) == [1]
    assert (e.counts.lessons, e.counts.missing) == (1, 1)


def test_asynchronous_peer_waits_for_nobody() -> None:
    assert exchange().awaits(0, [member(1)]) == set()


def test_in_the_first_of_two_phases_nothing_is_taught_awaited_or_learned() -> None:
    for sync in (None, math.inf):
        e = exchange(alone_until=5, sync=sync)
        post(e, 1, 0)
        assert (e.teach(4, [member(1)]), e.lesson(4, [member(1)]), e.awaits(4, [member(1)])) == (None, None, set())
        assert e.teach(5, [member(1)]) is not None


def test_lessons_their_ages_and_their_teachers_are_counted() -> None:
    e = exchange()
    post(e, 1, 0, step=0)
    post(e, 2, 0, step=0)
    for step in (0, 2):
        assert e.lesson(step, []) is not None
    assert (e.counts.lessons, e.counts.fresh_lessons, e.teachers) == (2, 1, 4)
    assert e.ages == {0: 1, 2: 1}


# -- trust -------------------------------------------------------------------------------------------------------------


def learned_from(e: Exchange, *peers: int, step: int = 0) -> None:
    for peer in peers:
        post(e, peer, step, step)
    assert e.lesson(step, []) is not None


def test_trust_falls_with_the_disagreement_beyond_the_least_of_those_heard() -> None:
    e = exchange()
    learned_from(e, 1, 2, 3)
    e.heed({1: 0.2, 2: 0.2, 3: 0.5, 4: 0.0})  # nothing of 4 lies here: it does not count as the least
    trust = e.trust(1)
    assert trust[1] == trust[2] == 1.0
    assert math.isclose(trust[3], math.exp(-3))


def test_equal_disagreements_give_equal_trust_of_exactly_one() -> None:
    e = exchange()
    learned_from(e, 1, 2)
    e.heed({1: 0.731, 2: 0.731})
    assert e.trust(0) == {1: 1.0, 2: 1.0}


def test_whoever_was_not_learned_from_for_max_age_gets_another_hearing_and_only_one() -> None:
    e = exchange(steps=100, max_age=5)
    learned_from(e, 1, 9)
    e.heed({1: 0.1, 9: 0.9})
    teachers = []
    for step in range(1, 14):
        post(e, 1, 2 * step, step)
        post(e, 9, 2 * step + 1, step)  # rounds of its own
        lesson = e.lesson(step, [])
        assert lesson is not None
        teachers += lesson.teachers
    assert teachers.count(9) == 2  # in steps 6 and 12
    assert teachers.count(1) == 11
    assert e.lesson(14, []) is not None


def test_only_neighbour_is_trusted_whatever_it_says() -> None:
    e = exchange()
    learned_from(e, 9)
    e.heed({9: 0.9})
    post(e, 9, 1, 1)
    lesson = e.lesson(1, [])
    assert lesson is not None
    assert (lesson.fresh, lesson.trust) == (True, 1.0)


# -- after the last step -----------------------------------------------------------------------------------------------


def lingering(**settings: object) -> Exchange:
    e = exchange(**settings)
    e.begin_lingering(100.0, seconds_a_step=2.0)
    return e


def test_who_is_done_teaches_rounds_that_others_speak_of_at_its_own_pace_until_nobody_needs_it() -> None:
    e = lingering()
    assert e.linger(100.0, [member(1)]) == Rest(160.0), "no round of its own"
    assert e.linger(101.0, [member(1, round=5)]) == Teach(5)
    assert e.linger(101.5, [member(1, round=6)]) == Rest(103.0)
    assert e.linger(103.0, [member(1, round=6)]) == Teach(6)
    assert e.linger(106.0, [member(1, round=6)]) == Rest(160.0)
    assert e.linger(107.0, [member(1, round=9, done=True)]) is None


def test_lingering_ends_after_its_limit_when_all_are_down_and_where_nobody_has_an_end() -> None:
    assert lingering().linger(160.0, [member(1)]) is None
    assert lingering(linger=7.0).linger(107.0, [member(1)]) is None
    assert lingering().linger(100.0, [member(1, up=False)]) is None
    assert lingering().linger(100.0, [member(1, steps=0)]) is None


def test_neighbour_that_says_it_is_unfinished_and_teaches_nothing_holds_up_no_end() -> None:
    e = lingering(linger=math.inf)
    says_so = member(1)
    assert e.linger(100.0, [says_so]) == Rest(700.0)
    teaches = member(2, bytes_received=10)
    assert e.linger(650.0, [says_so, teaches]) == Rest(1250.0)
    assert e.linger(1249.0, [says_so, teaches]) == Rest(1250.0), "it has taught no more since"
    assert e.linger(1249.5, [says_so, replace(teaches, bytes_received=20)]) == Rest(1849.5)
    another = member(3)  # another id of somebody who never teaches: it gets no time of its own
    assert e.linger(1849.5, [says_so, replace(teaches, bytes_received=20), another]) is None


def test_slow_group_lingers_longer_for_slower_neighbours() -> None:
    e = exchange(linger=math.inf)
    e.begin_lingering(0.0, seconds_a_step=60.0)
    assert e.linger(0.0, [member(1)]) == Rest(6000.0)


def test_neighbour_that_goes_on_teaching_holds_up_the_end_for_ten_times_the_training_and_no_longer() -> None:
    for steps, limit in (
        (1_000, 20_000.0),
        (10, 1_800.0),
    ):  # of two seconds each; three times the 600 s of a silent one
        e = exchange(steps=steps, linger=math.inf)
        e.begin_lingering(0.0, seconds_a_step=2.0)
        now, received = 0.0, 0
        while now < limit:
            received += 10
            do = e.linger(now, [member(1, bytes_received=received)])
            assert do == Rest(min(now + 600.0, limit)), now
            now += 500.0
        assert e.linger(limit, [member(1, bytes_received=received + 10)]) is None
    given = exchange(linger=50_000.0)
    given.begin_lingering(0.0, seconds_a_step=2.0)
    assert given.linger(40_000.0, [member(1, bytes_received=10)]) == Rest(40_600.0), "a number is what it says"


def test_in_lockstep_nobody_lingers() -> None:
    assert lingering(sync=5.0).linger(100.0, [member(1, round=5)]) is None
