"""Peers that speak badly, or another version: what they send has no effect, is counted, and nobody else is touched."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from processes import addresses, metrics, neighbour, peer, summary, until_status
from strangers import Stranger

from edgekd.protocol.guard import REFUSALS
from edgekd.protocol.messages import Heartbeat, SoftPredictions
from peer.wire.protobuf import to_wire

ENDLESS = ["--steps", 0, "--checkpoint-every", 0]
NOBODY_IN_PARTICULAR = b"\xa2\x06\x05hello"  # field 100, of a version to come


@pytest.fixture
def group(spawn: Any, tmp_path: Path) -> Any:
    """A real peer, 0, and a stranger, 6, that behaves."""
    (where,) = addresses(1)
    process = spawn(peer(0, tmp_path, *ENDLESS, "--temperature", 1.5, listen=where))
    process.until_step(1)
    with stranger(where, 6) as good:
        good.teach(good.until(SoftPredictions).round + 1)
        process.until_exchanging()
        yield where, process, good


@contextlib.contextmanager
def stranger(where: str, id: int, **more: Any) -> Iterator[Stranger]:
    made = Stranger(where, id, **more)
    try:
        yield made
    finally:
        made.close()


def taught_by(out: Path, id: int, *, fresh: bool = False) -> list[int]:
    """The rounds of peer 0's lessons in which `id` was a teacher, in the order of the steps; all, or the new ones."""
    records = [record for record in metrics(out, 0) if id in record["teachers"]]
    return [record["lesson"] for record in records if record["fresh"] or not fresh]


def test_duplicates_and_old_rounds_are_counted_and_far_ones_move_nobody(group: Any, tmp_path: Path) -> None:
    where, process, good = group
    with stranger(where, 5) as bad:
        now = bad.until(SoftPredictions).round
        first, second = now + 1_000_000, now + 1_000_010
        bad.teach(first)  # valid, if far: everybody follows
        process.until(lambda p: p.last["round"] > first)
        # Again, older ones, in the wrong order, and what no honest peer can have reached: that is taken, too.
        bad.teach(first, first - 5, 3, first, second, second - 1, first, second, 2**40, 2**61, second)
        bad.send(Heartbeat(step=1, steps=0, round=2**61, done=False))
        bad.acked(12)  # each is acknowledged: it is no longer in flight
        seen = until_status(where, lambda s: s.refused.get("old", 0) >= 8)
        assert seen.refused == {"old": 8}
        assert seen.round < first + 100_000, "no step towards the far future"
        assert neighbour(seen, 5).up
        good.teach(second + 7)
        process.until(lambda p: p.last["round"] >= second + 7)
        at = process.last["step"]
        process.until_step(at + 5)
    process.terminate()
    lessons = taught_by(tmp_path, 5)
    assert set(lessons) <= {first, second, 2**40, 2**61}
    assert 2**61 in lessons, "any round above the last is sound"
    news = taught_by(tmp_path, 5, fresh=True)
    assert len(news) == len(set(news)), "none is new twice"
    reached = summary(tmp_path, 0)
    assert (reached["refused"], reached["waits"]) == ({"old": 8}, 0)


def test_hello_from_a_far_future_moves_nobody(group: Any) -> None:
    where, process, _ = group
    with stranger(where, 5, newest_round=2**61) as bad:
        bad.teach(bad.until(SoftPredictions).round + 1)
        bad.acked(1)
        process.until_step(process.last["step"] + 5)
        seen = until_status(where, lambda s: neighbour(s, 5).age is not None)
        assert (seen.refused, seen.round < 2**20) == ({}, True)
        assert neighbour(seen, 5).up
        process.until_step(process.last["step"] + 5)
    process.terminate()


def test_another_minor_version_with_fields_and_frames_unknown_here_takes_full_part(group: Any, tmp_path: Path) -> None:
    where, process, _ = group

    def newer(hello: Any) -> bytes:
        frame = to_wire(hello)
        return bytes(frame.SerializeToString()) + frame_with_unknown_hello(frame)

    def frame_with_unknown_hello(frame: Any) -> bytes:
        # Protobuf merges a message that comes twice: the second part holds nothing but the unknown field.
        return b"\x0a" + bytes([len(NOBODY_IN_PARTICULAR)]) + NOBODY_IN_PARTICULAR + NOBODY_IN_PARTICULAR

    with stranger(where, 5, minor=99, raw=newer) as other:
        other.send_bytes(NOBODY_IN_PARTICULAR)  # a frame of a kind to come
        until_status(where, lambda s: s.refused == {"unknown": 1} and neighbour(s, 5).up)
        newest = other.until(SoftPredictions).round + 50
        known = to_wire(other.predictions(newest)).SerializeToString()
        other.send_bytes(bytes(known) + NOBODY_IN_PARTICULAR)
        other.acked(1)
        seen = until_status(where, lambda s: neighbour(s, 5).age is not None)
        assert seen.refused == {"unknown": 1}
        process.until_step(process.last["step"] + 5)
    process.terminate()
    assert newest in taught_by(tmp_path, 5)


@pytest.mark.parametrize(
    ("changes", "contract", "here", "there"),
    [
        ({"major": 2}, {}, "protocol major version: 1 here, 2 there", "protocol major version: 2 here, 1 there"),
        (
            {},
            {"temperature": 4.5, "public_batch": 16},
            "public_batch: 8 here, 16 there; temperature: 1.5 here, 4.5 there",
            "public_batch: 16 here, 8 there; temperature: 4.5 here, 1.5 there",
        ),
    ],
    ids=["major", "contract"],
)
def test_another_major_version_or_contract_is_refused_at_hello_with_names_and_training_with_others_goes_on(
    group: Any, tmp_path: Path, changes: dict[str, Any], contract: dict[str, Any], here: str, there: str
) -> None:
    where, process, good = group

    def other_hello(hello: Any) -> bytes:
        changed = replace(hello, contract=replace(hello.contract, **contract))
        return bytes(to_wire(changed).SerializeToString())

    for count in (1, 2):
        with stranger(where, 5, raw=other_hello, **changes) as other:
            assert other.until_refused() == f"peer 0 cannot work with you: {there}"
        seen = until_status(where, lambda s, count=count: s.refused == {"contract": count})
        assert neighbour(seen, 5) is None
    assert process.said.count(f"peer 5 at {where.partition(':')[0]}") <= 2
    assert f"cannot work with this peer: {here}" in process.said
    good.teach(newest := seen.round + 1000)
    process.until(lambda p: p.last["round"] >= newest)
    process.until_step(process.last["step"] + 5)
    process.terminate()
    assert newest in taught_by(tmp_path, 6)
    assert summary(tmp_path, 0)["waits"] == 0


def test_who_sends_garbage_at_a_high_rate_is_cut_off_for_a_while_and_does_not_fill_the_log(group: Any) -> None:
    where, process, good = group
    said = len(process.err)
    with stranger(where, 5) as bad:
        for number in range(REFUSALS + 1):
            bad.send_bytes(b"\xff" * (number + 1))  # no protobuf
        assert "cut off for 60 s" in bad.until_refused()
    for _ in range(20):
        with stranger(where, 5) as bad:  # it comes again
            assert "cut off for 60 s" in bad.until_refused()
    seen = until_status(where, lambda s: s.refused.get("cut-off", 0) == 20)
    assert seen.refused == {"garbled": REFUSALS + 1, "cut-off": 20}
    assert not neighbour(seen, 5).up
    assert neighbour(seen, 6).up
    good.teach(seen.round + 500)
    process.until(lambda p: p.last["round"] >= seen.round + 500)
    process.until_step(process.last["step"] + 5)
    assert len(process.err) - said < 30, process.said[-2000:]
    process.terminate()


def test_flood_of_sound_frames_is_held_back_and_its_sender_cut_off(group: Any) -> None:
    where, process, _ = group
    with stranger(where, 5) as bad:
        bad.until(SoftPredictions)
        while not bad.ended:
            bad.send(Heartbeat(step=1, steps=0, round=-1, done=False))
        assert "cut off for 60 s" in bad.until_refused()
    seen = until_status(where, lambda s: s.refused.get("flood", 0) > 0)
    assert seen.refused == {"flood": REFUSALS + 1}
    assert neighbour(seen, 6).up
    process.until_step(process.last["step"] + 5)
    process.terminate()
