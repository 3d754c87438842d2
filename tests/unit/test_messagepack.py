"""MessagePack of peer.proto: its shape, and what is refused; that frames survive it is in test_protobuf.py."""

import contextlib
import math
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.messages import (
    MAJOR,
    MAX_ROUND,
    PIECE,
    Ack,
    Ask,
    Asked,
    Contract,
    Encoding,
    Frame,
    Goodbye,
    Heartbeat,
    Hello,
    Neighbour,
    Parting,
    Piece,
    SoftPredictions,
    Status,
)
from peer.wire.messagepack import MAX_CONTAINERS, MAX_ITEMS, from_bytes, to_bytes

HELLO = Hello(
    major=MAJOR,
    minor=0,
    id=0,
    instance=1,
    contract=Contract(
        public_sha256="ab" * 32, public_batch=32, classes=10, heads=1, temperature=1.0, augment="crop", mode="async"
    ),
    encodings=(Encoding.FLOAT16, Encoding.FLOAT32),
    newest_round=-1,
    address="127.0.0.1:7000",
)
BEAT = Heartbeat(step=1, steps=2, round=0, done=False)
NEIGHBOUR = Neighbour(id=1, address="", up=True, step=0, age=0, replaced=0, bytes_sent=0, bytes_received=0)
FRAMES: list[Frame] = [
    HELLO,
    BEAT,
    SoftPredictions(round=0, encoding=Encoding.FLOAT16, heads=1, rows=1, classes=2, payload=b"\0" * 4),
    Ack(round=1),
    Goodbye(parting=Parting.DONE, detail="so long"),
    Ask(what=Asked.STATUS),
    Status(
        id=0,
        state="training",
        step=1,
        steps=2,
        round=0,
        accuracy=None,
        bytes_sent=0,
        bytes_received=0,
        refused={"shape": 1},
        neighbours=(NEIGHBOUR,),
        loss_labels=0.5,
        loss_distil=0.25,
        lessons=1,
        fresh_lessons=1,
        failing=("metrics", "checkpoint"),
        evaluation_images=180,
        best=0.75,
        seconds=1.5,
        lesson_age=0,
        first_step=0,
    ),
    Piece(data=b"x", last=True),
]


def refusal(data: bytes) -> str:
    with pytest.raises(RemoteProtocolError) as raised:
        from_bytes(data)
    return raised.value.reason


def beat(**changes: Any) -> bytes:
    return bytes(msgpack.packb({"heartbeat": {"step": 1, "steps": 2, **changes}}))


words = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=9)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(max_size=9) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=8,
)


@given(frame=st.sampled_from(FRAMES), data=st.data())
@settings(deadline=None)
def test_fields_of_any_type_raise_nothing_but_a_refusal(frame: Frame, data: st.DataObject) -> None:
    content = msgpack.unpackb(to_bytes(frame))
    (kind,) = content
    where = content[kind]
    if isinstance(where.get("contract"), dict) and data.draw(st.booleans()):
        where = where["contract"]
    where[data.draw(st.sampled_from([*where, "round", "refused", "neighbours", "encodings"]))] = data.draw(anything)
    with contextlib.suppress(RemoteProtocolError):
        from_bytes(bytes(msgpack.packb(content)))


def test_a_frame_is_a_map_from_the_names_of_peer_proto() -> None:
    assert msgpack.unpackb(to_bytes(BEAT)) == {"heartbeat": {"step": 1, "steps": 2}}
    predictions = SoftPredictions(round=7, encoding=Encoding.FLOAT16, heads=1, rows=1, classes=2, payload=b"\0" * 4)
    content = {"round": 7, "encoding": 2, "heads": 1, "rows": 1, "classes": 2, "payload": b"\0" * 4}
    assert msgpack.unpackb(to_bytes(predictions)) == {"predictions": content}


def test_what_a_newer_version_adds_is_tolerated_and_a_frame_of_its_own_told_apart() -> None:
    assert from_bytes(beat(colour="blue", nested={"a": [1, 2.5, None]})) == BEAT
    assert from_bytes(bytes(msgpack.packb({"later": [1], "heartbeat": {"step": 1, "steps": 2}}))) == BEAT
    assert refusal(bytes(msgpack.packb({"later": {"step": 1}}))) == "unknown"
    assert refusal(bytes(msgpack.packb({}))) == "empty"
    hello = msgpack.unpackb(to_bytes(HELLO))
    hello["hello"]["encodings"] = [77, 1, 0, 2, 1]
    assert from_bytes(bytes(msgpack.packb(hello))) == replace(HELLO, encodings=(Encoding.FLOAT32, Encoding.FLOAT16))
    assert from_bytes(bytes(msgpack.packb({"goodbye": {"parting": 99}}))) == Goodbye(parting=Parting.LEAVING)


def test_a_whole_number_will_do_for_a_fraction_and_nothing_else_for_anything() -> None:
    assert from_bytes(beat(accuracy=1)) == replace(BEAT, accuracy=1.0)
    wrong: list[dict[str, Any]] = [{"step": True}, {"step": 1.0}, {"step": "1"}, {"step": None}, {"done": 1}]
    wrong += [{"accuracy": True}, {"accuracy": "0.5"}, {"step": [1]}, {"step": {"a": 1}}]
    assert {refusal(beat(**each)) for each in wrong} == {"garbled"}
    assert refusal(bytes(msgpack.packb({"goodbye": {"parting": 1, "detail": b"bytes"}}))) == "garbled"
    assert refusal(bytes(msgpack.packb({"piece": {"data": "text"}}))) == "garbled"


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 2])
def test_an_accuracy_that_is_none_is_refused(value: float) -> None:
    assert refusal(beat(accuracy=value)) == "range"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"heartbeat": {"step": -1}}, "range"),
        ({"heartbeat": {"step": 2**63}}, "range"),
        ({"ack": {"round": MAX_ROUND}}, "range"),
        ({"predictions": {"round": 0, "encoding": 2, "heads": 2**32, "rows": 1, "classes": 2}}, "range"),
        ({"predictions": {"round": 0, "encoding": 9, "heads": 1, "rows": 1, "classes": 2}}, "encoding"),
        ({"predictions": {"round": 0, "encoding": 2**40}}, "range"),
        ({"piece": {"data": b"x" * (PIECE + 1)}}, "range"),
        ({"hello": {"id": 1, "encodings": [1] * 65}}, "range"),
        ({"hello": {"contract": None}}, "garbled"),
        ({"hello": {"encodings": "1"}}, "garbled"),
        ({"status": {"refused": [1]}}, "garbled"),
        ({"status": {"failing": [1]}}, "garbled"),
        ({"status": {"failing": "metrics"}}, "garbled"),
        ({"status": {"failing": ["x" * 65]}}, "text"),
        ({"status": {"loss_labels": math.nan}}, "range"),
        ({"status": {"lesson_age": 2**63}}, "range"),
        ({"status": {"refused": {"why": "so"}}}, "garbled"),
        ({"status": {"neighbours": {"id": 1}}}, "garbled"),
        ({"status": {"neighbours": [1]}}, "garbled"),
        ({"status": {"state": "\x1b[2J"}}, "text"),
        ({"ask": {"what": 7}}, "unknown"),
        ({"heartbeat": None}, "garbled"),
        ({"heartbeat": {}, "ack": {}}, "garbled"),
        ([1], "garbled"),
        (None, "garbled"),
    ],
)
def test_what_breaks_a_rule_of_peer_proto_is_refused(content: Any, reason: str) -> None:
    assert refusal(bytes(msgpack.packb(content))) == reason


def test_a_contract_that_holds_more_than_is_known_here_is_refused() -> None:
    hello = msgpack.unpackb(to_bytes(HELLO))
    hello["hello"]["contract_sha256"] = "0" * 64
    assert refusal(bytes(msgpack.packb(hello))) == "contract"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x81\xa3ack",  # ends midway
        b"\x81\xa3ack\x80\x00",  # goes on
        b"\x82\xa3ack\x80\xa3ack\x80",  # a key twice
        b"\x81\xa3ack\x82\xa5round\x01\xa5round\x02",
        b"\x81\x01\x80",  # a key that is no text
        b"\x81\x90\x80",
        b"\x81\xa2\xff\xff\x80",  # a text that is no UTF-8
        b"\xd6\xff\x00\x00\x00\x00",  # a timestamp
        b"\xc7\x00\x05",  # extensions
        b"\x81\xa5later\xc7\x00\x05",
        b"\x81\xa5later\xd4\x05\x00",
        b"\x81\xa5later" + b"\x91" * 100_000,  # nested without end
        b"\x81\xa5later" + b"\x81\xa1k" * 100_000,
        b"\xdf\xff\xff\xff\xff",  # lengths that are only announced
        b"\x81\xa5later\xdd\xff\xff\xff\xff",
        b"\x81\xa5later\xc6\xff\xff\xff\xff",
        b"\x81\xa5later\xdb\xff\xff\xff\xff",
        bytes(msgpack.packb({"later": [0] * (MAX_ITEMS + 1)})),
        bytes(msgpack.packb({"later": [[[]] * 200] * 200})),  # lists without number
        bytes(msgpack.packb({"later": [[{}] * 200] * (MAX_CONTAINERS // 200 + 1)})),
    ],
)
def test_bytes_that_are_no_frame_are_refused_as_garbled(data: bytes) -> None:
    assert refusal(data) == "garbled"


@pytest.mark.parametrize(
    "content",
    [
        {b"hello": {}},
        {"hello\0x": {}},
        {"hello": {b"id": 3}},
        {"hello": {"id\0": 3}},
        {"status": {"refused": {b"a": 1}}},
    ],
)
def test_key_that_is_a_fields_name_but_for_its_type_or_a_nul_is_no_field(content: dict[object, object]) -> None:
    with pytest.raises(RemoteProtocolError):
        from_bytes(msgpack.packb(content))
