"""Who becomes a neighbour, who is turned away, and what both sides are told."""

from dataclasses import replace

import pytest

from edgekd.config import Config, DataConfig
from edgekd.contract import common_data
from edgekd.protocol.admission import Caller, Decision, Incumbent, Verdict, admit, differences
from edgekd.protocol.common_data import OF_PUBLIC, OF_SHARDS, shard_differences
from edgekd.protocol.members import MAX_NEIGHBOURS
from edgekd.protocol.messages import Contract, Encoding, Goodbye, Hello, Parting

CONTRACT = Contract(
    public_sha256="ab" * 32, public_batch=4, classes=3, heads=1, temperature=1.0, augment="crop", mode="async"
)
HELLO = Hello(
    major=1,
    minor=0,
    id=1,
    instance=77,
    contract=CONTRACT,
    encodings=(Encoding.FLOAT16,),
    newest_round=-1,
    address="",
)
THEIRS = replace(HELLO, id=2, instance=88)
DIALS = Caller(where="box-b:7000", ours="box-a:7000")
DIALLED = replace(DIALS, we_dialled=True)
SAME = Incumbent(instance=88, dialled_by=1, address="box-b:7000")  # the caller's own older stream
OTHER = Incumbent(instance=99, dialled_by=2, address="box-c:7000")  # another process with the caller's id


def decide(
    caller: Caller = DIALS,
    theirs: Hello = THEIRS,
    incumbent: Incumbent | None = None,
    allow: set[int] | None = None,
    connected: int = 0,
) -> Decision:
    return admit(HELLO, theirs, caller, incumbent, allow=allow, connected=connected)


@pytest.mark.parametrize(
    ("decision", "verdict"),
    [
        (decide(), Verdict.WELCOME),
        (decide(replace(DIALLED, proved=2, expected=2), allow={2, 3}), Verdict.WELCOME),
        (decide(connected=MAX_NEIGHBOURS - 1), Verdict.WELCOME),
        (decide(connected=MAX_NEIGHBOURS), Verdict.REFUSE),
        (decide(DIALLED, connected=MAX_NEIGHBOURS), Verdict.WELCOME),  # the limit is for those that dial in
        (decide(incumbent=OTHER, connected=MAX_NEIGHBOURS), Verdict.PROBE),  # it would take a place that is counted
        (decide(incumbent=OTHER), Verdict.PROBE),
        (decide(incumbent=replace(OTHER, answered=True)), Verdict.REFUSE),
        (decide(incumbent=replace(OTHER, answered=False)), Verdict.REPLACE),
        (decide(theirs=replace(HELLO, id=1), allow={5}), Verdict.SELF),  # before all else, or it would refuse itself
        (decide(theirs=replace(THEIRS, instance=77)), Verdict.SELF),
        (decide(replace(DIALS, proved=1), replace(HELLO, id=1)), Verdict.SELF),
        (
            decide(replace(DIALS, proved=2), replace(THEIRS, instance=77)),
            Verdict.WELCOME,
        ),  # its key proves another peer
    ],
)
def test_each_situation_has_its_verdict(decision: Decision, verdict: Verdict) -> None:
    assert decision.verdict is verdict
    assert (decision.refusal is not None) == (verdict is Verdict.REFUSE)


@pytest.mark.parametrize(
    ("first_dialled_by", "caller", "verdict"),
    [
        (1, DIALS, Verdict.DUPLICATE),
        (2, DIALLED, Verdict.REPLACE),
        (1, DIALLED, Verdict.REPLACE),  # who dials again has lost the older stream
        (2, DIALS, Verdict.REPLACE),
    ],
)
def test_of_two_streams_the_one_that_the_smaller_id_dialled_stays_and_of_one_sides_the_newer(
    first_dialled_by: int, caller: Caller, verdict: Verdict
) -> None:
    decision = decide(caller, incumbent=replace(SAME, dialled_by=first_dialled_by))
    assert decision.verdict is verdict


def test_both_sides_of_two_streams_that_cross_keep_the_same_one() -> None:
    theirs = decide(DIALS, incumbent=replace(SAME, dialled_by=1)).verdict  # here: ours was first, theirs comes
    mine = admit(
        THEIRS,
        HELLO,
        DIALS,
        Incumbent(instance=77, dialled_by=2, address="box-a:7000"),  # there: theirs was first, ours comes
        allow=None,
        connected=1,
    ).verdict
    assert (theirs, mine) == (Verdict.DUPLICATE, Verdict.REPLACE), "the stream that peer 1 dialled"


def test_duplicate_is_told_so_at_either_end_and_a_silent_incumbent_is_told_nothing() -> None:
    duplicate = Goodbye(parting=Parting.DUPLICATE)
    assert decide(incumbent=SAME).goodbye == duplicate
    replaced = decide(DIALLED, incumbent=SAME)
    assert (replaced.goodbye, replaced.farewell) == (None, duplicate)
    silent = decide(incumbent=replace(OTHER, answered=False))
    assert (silent.goodbye, silent.farewell) == (None, None)
    assert decide().goodbye is None
    assert decide(theirs=HELLO).goodbye is None, "a peer that has dialled itself is dropped quietly"


@pytest.mark.parametrize(
    ("decision", "reason", "there"),
    [
        (decide(replace(DIALS, proved=3), allow={2}), "identity", "with the key of peer 3"),
        (decide(replace(DIALLED, expected=3), allow={2}), "identity", "where peer 3 was dialled"),
        (decide(allow={3}), "allow", "peer 1 does not allow peer 2"),
        (decide(theirs=replace(THEIRS, major=2)), "contract", "protocol major version: 2 here, 1 there"),
        (decide(replace(DIALS, cut_off=True)), "cut-off", "cut off for 60 s"),
        (decide(theirs=replace(THEIRS, id=1)), "id", "peer 1 already runs at box-a:7000; choose another --id"),
        (decide(connected=64), "full", "64 neighbours are connected already"),
        (decide(incumbent=replace(OTHER, answered=True)), "id", "peer 2 already runs at box-c:7000; stop it"),
    ],
)
def test_each_refusal_has_its_reason_and_tells_both_sides(decision: Decision, reason: str, there: str) -> None:
    assert decision.refusal is not None
    assert decision.refusal.reason == reason
    assert "box-b:7000" in decision.refusal.here
    assert decision.goodbye is not None
    assert decision.goodbye.parting is Parting.REFUSED
    assert there in decision.goodbye.detail


def test_an_impostor_is_called_one_whatever_else_is_wrong_with_it() -> None:
    caller = replace(DIALS, proved=3, cut_off=True)
    refusal = decide(caller, replace(THEIRS, major=2), OTHER, set(), MAX_NEIGHBOURS).refusal
    assert refusal is not None
    assert refusal.reason == "identity"


def test_whoever_may_not_join_does_not_have_the_incumbent_probed_or_replaced() -> None:
    for incumbent in (OTHER, replace(OTHER, answered=False), SAME):
        assert decide(replace(DIALS, cut_off=True), incumbent=incumbent).verdict is Verdict.REFUSE


def test_refusal_names_each_differing_field_and_both_values() -> None:
    theirs = replace(HELLO, contract=replace(CONTRACT, temperature=2.0, mode="sync/1"))
    assert differences(HELLO, theirs) == ["temperature: 1.0 here, 2.0 there", "mode: async here, sync/1 there"]
    assert differences(HELLO, replace(HELLO, minor=9)) == []
    assert differences(HELLO, replace(HELLO, major=2)) == ["protocol major version: 1 here, 2 there"]


def public_line(ours: str, theirs: str) -> str:
    other = replace(HELLO, contract=replace(CONTRACT, public_sha256="cd" * 32), common_data=theirs)
    (line,) = differences(replace(HELLO, common_data=ours), other)
    return line


def test_other_public_images_are_explained_by_what_is_known_of_them() -> None:
    hashes = "SHA-256 abababab... here, cdcdcdcd... there"
    ours = "data digits, size 32, eval-fraction 0.1, seed 0, clients 3, split gamma 15"
    assert public_line("", "") == f"public file: {hashes}; copy one box's file to the other"
    assert public_line(ours, ours.replace("32", "16").replace("seed 0", "limit 300, seed 1")) == (
        "public images: size: 32 here, 16 there; limit: not set here, 300 there; seed: 0 here, 1 there"
    )
    assert public_line(ours, "") == (
        f"public images: {hashes}; with --data these must be alike on all boxes: data, size, limit, eval-fraction, "
        "public-fraction, seed"
    )
    assert "with the same settings; the boxes have other files" in public_line(ours, ours.replace("gamma 15", "iid"))


def test_peers_that_deal_a_common_data_set_out_otherwise_are_told_apart_and_let_in() -> None:
    ours = replace(HELLO, common_data="data digits, seed 0, clients 3, split gamma 15")
    theirs = replace(HELLO, common_data="data digits, seed 0, clients 4, split iid")
    assert differences(ours, theirs) == []
    assert shard_differences(ours, theirs) == "clients: 3 here, 4 there; split: gamma 15 here, iid there"
    assert shard_differences(ours, ours) is None
    for one, other in ((ours, HELLO), (HELLO, theirs)):
        assert shard_differences(one, other) is None, "nothing is known of an older one"


@pytest.mark.parametrize("split", [{"iid": True}, {"gamma": 5.0, "primary": 2}, {"dirichlet": 0.5}])
def test_settings_of_a_common_data_set_that_a_hello_names_are_those_that_are_compared(split: dict[str, object]) -> None:
    """The setting `primary` goes with `gamma` only."""
    data = DataConfig(data="digits", limit=300, **split)  # type: ignore[arg-type]
    named = [each.partition(" ")[0] for each in common_data(Config(data=data), 32).split(", ")]
    due = [*OF_PUBLIC, *OF_SHARDS]
    assert sorted(named) == sorted(due if "primary" in split else {*due} - {"primary"})


def test_peers_without_an_encoding_in_common_cannot_work_together() -> None:
    (line,) = differences(HELLO, replace(HELLO, encodings=()))
    assert line.startswith("encodings: float16 here")
