"""What frames, and their absence, do to a neighbour's record."""

from dataclasses import replace

from edgekd.protocol.members import (
    MAX_NEIGHBOURS,
    NO_PREDICTION_LOST,
    Member,
    is_silent,
    joined,
    on_disagreement,
    on_down,
    on_frame,
    on_goodbye,
    on_heartbeat,
    on_predictions,
    on_refused_frame,
    on_replaced,
    on_sent,
    without_the_long_gone,
)
from edgekd.protocol.messages import (
    Ack,
    Contract,
    Encoding,
    Goodbye,
    Heartbeat,
    Hello,
    Parting,
    SoftPredictions,
)
from edgekd.protocol.timing import LAN

CONTRACT = Contract(
    public_sha256="ab" * 32, public_batch=32, classes=10, heads=1, temperature=1.0, augment="crop", mode="async"
)
HELLO = Hello(
    major=1,
    minor=0,
    id=1,
    instance=77,
    contract=CONTRACT,
    encodings=(Encoding.FLOAT16,),
    newest_round=4,
    address="box:7000",
)
BEAT = Heartbeat(step=3, steps=120, round=6, done=False)
PREDICTIONS = SoftPredictions(round=7, encoding=Encoding.FLOAT16, heads=1, rows=1, classes=3, payload=bytes(6))


def test_strangers_without_number_do_not_fill_the_memory_and_who_is_connected_stays() -> None:
    members = {id: joined(replace(HELLO, id=id), "x:1", now=float(id), before=None) for id in range(3 * MAX_NEIGHBOURS)}
    left = without_the_long_gone(members, connected=range(5))  # the longest silent of all, though not up yet
    assert len(left) == 2 * MAX_NEIGHBOURS
    assert set(range(5)) < set(left)
    assert 3 * MAX_NEIGHBOURS - 1 in left


def up(member: Member, now: float = 0.0) -> Member:
    return on_frame(member, BEAT, now, current=True)


def test_silent_peer_is_down_after_five_seconds_and_up_again_at_its_next_frame() -> None:
    member = up(joined(HELLO, "1.2.3.4:5", now=90.0, before=None), now=100.0)
    assert not is_silent(member, 104.99, down_after=LAN.down_after)
    assert is_silent(member, 105.0, down_after=LAN.down_after)
    assert not on_down(member).up
    again = up(on_down(member), now=104.0)
    assert again.up
    assert not is_silent(again, 108.0, down_after=LAN.down_after)


def test_newcomer_is_up_from_its_first_frame_since_it_may_still_refuse_this_peer() -> None:
    newcomer = joined(HELLO, "x:1", now=0.0, before=None)
    assert not newcomer.up
    refused = on_frame(newcomer, Goodbye(parting=Parting.REFUSED), 1.0, current=True)
    assert (refused.up, refused.last_heard) == (False, 1.0)
    assert on_frame(newcomer, Ack(round=0), 1.0, current=True).up


def test_frame_of_a_replaced_stream_brings_nobody_up_and_takes_nobody_down() -> None:
    down = joined(HELLO, "x:1", now=0.0, before=None)
    late = on_frame(down, BEAT, 1.0, current=False)
    assert (late.up, late.last_heard) == (False, 1.0)
    assert on_frame(up(down), BEAT, 2.0, current=False).up


def test_new_stream_of_the_same_instance_is_up_at_once_and_that_of_another_is_not() -> None:
    first = up(joined(HELLO, "x:1", now=0.0, before=None))
    assert joined(HELLO, "x:2", now=1.0, before=first).up
    assert not joined(HELLO, "x:2", now=1.0, before=on_down(first)).up
    assert not joined(replace(HELLO, instance=78), "x:2", now=1.0, before=first).up


def test_heartbeat_says_how_far_a_neighbour_is_and_its_round_never_falls() -> None:
    member = on_heartbeat(joined(HELLO, "x:1", now=0.0, before=None), replace(BEAT, round=2, accuracy=0.5))
    assert (member.step, member.steps, member.done, member.accuracy) == (3, 120, False, 0.5)
    assert member.round == HELLO.newest_round == 4


def test_sound_predictions_are_counted_and_an_older_round_is_not_forgotten_for_them() -> None:
    member = joined(HELLO, "x:1", now=0.0, before=None)
    member = on_predictions(replace(member, unsound=True), PREDICTIONS, step=11)
    assert (member.bytes_received, member.round, member.arrived, member.unsound) == (6, 7, 11, False)
    member = on_predictions(replace(member, round=9), PREDICTIONS, step=12)
    assert (member.bytes_received, member.round, member.arrived) == (12, 9, 12)


def test_refused_frame_marks_a_lost_prediction_unless_its_reason_says_that_there_was_none() -> None:
    member = joined(HELLO, "x:1", now=0.0, before=None)
    for reason in ("nan", "length", "round", "flood", "garbled", "oversized", "encoding"):
        assert on_refused_frame(member, reason).unsound, reason
    for reason in NO_PREDICTION_LOST:
        assert on_refused_frame(member, reason) == member
        assert on_refused_frame(replace(member, unsound=True), reason).unsound, "nor is one found again"


def test_only_the_goodbye_of_a_peer_that_is_done_says_so() -> None:
    member = up(joined(HELLO, "x:1", now=0.0, before=None))
    for parting in Parting:
        after = on_goodbye(member, Goodbye(parting=parting))
        assert after.done == (parting is Parting.DONE)
        assert after.up, "its stream is still open"


def test_what_is_sent_and_replaced_adds_up_and_a_disagreement_is_the_newest() -> None:
    member = joined(HELLO, "x:1", now=0.0, before=None)
    for _ in range(2):
        member = on_replaced(on_sent(member, PREDICTIONS), 3)
    assert (member.bytes_sent, member.replaced) == (12, 6)
    assert on_disagreement(on_disagreement(member, 0.5), 0.25).disagreement == 0.25


def test_same_instance_on_a_new_stream_keeps_what_is_known_and_another_starts_over() -> None:
    first = joined(HELLO, "x:1", now=0.0, before=None)
    first = replace(on_heartbeat(first, replace(BEAT, step=9, round=9, done=True)), bytes_received=640)
    first = replace(first, disagreement=0.25)
    again = joined(HELLO, "x:2", now=2.0, before=first)
    assert (again.step, again.done, again.bytes_received) == (9, True, 640)
    other = joined(replace(HELLO, instance=78), "x:3", now=2.0, before=first)
    assert (other.step, other.done, other.bytes_received) == (0, False, 640)
    assert (again.disagreement, other.disagreement) == (0.25, 0.25), "a liar is none the better for a restart"


def test_only_a_neighbour_that_is_up_and_has_an_end_can_be_unfinished() -> None:
    member = up(joined(HELLO, "x:1", now=0.0, before=None))
    assert not member.unfinished, "no end is known of it"
    member = on_heartbeat(member, BEAT)
    assert member.unfinished
    assert not replace(member, up=False).unfinished
    assert not replace(member, done=True).unfinished
