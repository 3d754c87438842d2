"""Who is turned away, and what both sides are told."""

from dataclasses import replace

import pytest

from edgekd.protocol.admission import Caller, differences, objection
from edgekd.protocol.messages import Contract, Encoding, Hello

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
CALLER = Caller(where="box-b:7000", ours="box-a:7000")


def test_who_fits_is_welcome_whatever_else_is_known_of_it() -> None:
    assert objection(HELLO, THEIRS, CALLER, None) is None
    assert objection(HELLO, THEIRS, replace(CALLER, proved=2, dialled=2), {2, 3}) is None


@pytest.mark.parametrize(
    ("caller", "theirs", "allow", "reason", "there"),
    [
        (replace(CALLER, proved=3), THEIRS, {2}, "identity", "with the key of peer 3"),
        (replace(CALLER, dialled=3), THEIRS, {2}, "identity", "where peer 3 was dialled"),
        (CALLER, THEIRS, {3}, "allow", "peer 1 does not allow peer 2"),
        (CALLER, replace(THEIRS, major=2), None, "contract", "protocol major version: 2 here, 1 there"),
        (replace(CALLER, cut_off=True), THEIRS, None, "cut-off", "cut off for 60 s"),
        (CALLER, replace(THEIRS, id=1), None, "id", "peer 1 already runs at box-a:7000; choose another --id"),
    ],
)
def test_each_objection_has_its_reason_and_tells_the_other_side(
    caller: Caller, theirs: Hello, allow: set[int] | None, reason: str, there: str
) -> None:
    refusal = objection(HELLO, theirs, caller, allow)
    assert refusal is not None
    assert refusal.reason == reason
    assert there in refusal.there
    assert "box-b:7000" in refusal.here


def test_an_impostor_is_called_one_whatever_else_is_wrong_with_it() -> None:
    refusal = objection(HELLO, replace(THEIRS, major=2), replace(CALLER, proved=3, cut_off=True), set())
    assert refusal is not None
    assert refusal.reason == "identity"


def test_refusal_names_each_differing_field_and_both_values() -> None:
    theirs = replace(HELLO, contract=replace(CONTRACT, temperature=2.0, mode="sync/1"))
    assert differences(HELLO, theirs) == ["temperature: 1.0 here, 2.0 there", "mode: async here, sync/1 there"]
    assert differences(HELLO, replace(HELLO, minor=9)) == []
    assert differences(HELLO, replace(HELLO, major=2)) == ["protocol major version: 1 here, 2 there"]


def test_peers_without_an_encoding_in_common_cannot_work_together() -> None:
    (line,) = differences(HELLO, replace(HELLO, encodings=()))
    assert line.startswith("encodings: float16 here")
