"""Who is up, and which of two streams stays."""

from dataclasses import replace

from edgekd.protocol.members import (
    DOWN_AFTER,
    MAX_NEIGHBOURS,
    beaten,
    first_stays,
    is_silent,
    joined,
    without_the_long_gone,
)
from edgekd.protocol.messages import Contract, Encoding, Heartbeat, Hello

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


def test_strangers_without_number_do_not_fill_the_memory_and_who_is_connected_stays() -> None:
    members = {id: joined(replace(HELLO, id=id), "x:1", now=float(id), before=None) for id in range(3 * MAX_NEIGHBOURS)}
    left = without_the_long_gone(members, connected=range(5))  # the longest silent of all, though not up yet
    assert len(left) == 2 * MAX_NEIGHBOURS
    assert set(range(5)) < set(left)
    assert 3 * MAX_NEIGHBOURS - 1 in left


def test_silent_peer_is_down_after_five_seconds_and_up_again_at_its_next_frame() -> None:
    member = joined(HELLO, "1.2.3.4:5", now=100.0, before=None)
    assert not is_silent(member, 100.0 + DOWN_AFTER - 0.01)
    assert is_silent(member, 100.0 + DOWN_AFTER)
    beat = Heartbeat(step=3, steps=120, round=6, done=False)
    assert not is_silent(beaten(member, beat, now=104.0), 108.0)


def test_same_instance_on_a_new_stream_keeps_what_is_known_and_another_starts_over() -> None:
    first = joined(HELLO, "x:1", now=0.0, before=None)
    first = replace(beaten(first, Heartbeat(step=9, steps=120, round=9, done=True), now=1.0), bytes_received=640)
    first = replace(first, disagreement=0.25)
    again = joined(HELLO, "x:2", now=2.0, before=first)
    assert (again.step, again.done, again.bytes_received) == (9, True, 640)
    other = joined(replace(HELLO, instance=78), "x:3", now=2.0, before=first)
    assert (other.step, other.done, other.bytes_received) == (0, False, 640)
    assert (again.disagreement, other.disagreement) == (0.25, 0.25), "a liar is none the better for a restart"


def test_stream_dialled_by_the_smaller_id_stays_whichever_came_first() -> None:
    assert first_stays(first_dialled_by=0, second_dialled_by=1)
    assert not first_stays(first_dialled_by=1, second_dialled_by=0)
    assert not first_stays(first_dialled_by=1, second_dialled_by=1), "who dials again has lost the old one"


def test_only_a_neighbour_that_is_up_and_has_an_end_can_be_unfinished() -> None:
    member = joined(HELLO, "x:1", now=0.0, before=None)
    assert not member.unfinished, "no end is known of it"
    member = beaten(member, Heartbeat(step=1, steps=120, round=1, done=False), now=1.0)
    assert member.unfinished
    assert not replace(member, up=False).unfinished
    assert not replace(member, done=True).unfinished
