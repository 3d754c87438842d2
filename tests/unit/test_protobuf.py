"""Frames survive the wire, and nothing that a stranger sends raises anything but RemoteProtocolError."""

import contextlib
import math
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.errors import RemoteProtocolError
from edgekd.protocol import messages
from edgekd.protocol.addresses import format_address
from edgekd.protocol.messages import (
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
from peer.node.recorder import FILES
from peer.wire import messagepack, protobuf
from peer.wire import peer_pb2 as pb
from peer.wire.protobuf import (
    MAX_ADDRESS,
    MAX_DETAIL,
    MAX_ENCODINGS,
    MAX_NAME,
    MAX_STATUS_FAILING,
    MAX_STATUS_NEIGHBOURS,
    MAX_STATUS_REASONS,
    from_bytes,
    from_wire,
    to_bytes,
    to_wire,
)

printable = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=40)
counts = st.integers(0, 2**63 - 1)
shares = st.integers(1, 2**32 - 1)
rounds = st.integers(0, 2**62 - 1)
rounds_or_none = st.integers(-1, 2**62 - 1)
losses = st.floats(allow_nan=False, allow_infinity=False)

contracts = st.builds(
    Contract,
    public_sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    public_batch=shares,
    classes=st.integers(2, 2**32 - 1),
    heads=shares,
    temperature=st.floats(0, 1e300, exclude_min=True),
    augment=printable,
    mode=printable,
)
hellos = st.builds(
    Hello,
    major=st.integers(0, 2**32 - 1),
    minor=st.integers(0, 2**32 - 1),
    id=counts,
    instance=st.integers(1, 2**63 - 1),
    contract=contracts,
    encodings=st.lists(st.sampled_from(Encoding), unique=True).map(tuple),
    newest_round=rounds_or_none,
    address=st.just("") | st.builds(format_address, st.ip_addresses().map(str), st.integers(0, 65535)),
    common_data=printable,
)
frames: st.SearchStrategy[Frame] = st.one_of(
    hellos,
    st.builds(
        SoftPredictions,
        round=rounds,
        encoding=st.sampled_from(Encoding),
        heads=shares,
        rows=shares,
        classes=st.integers(2, 2**32 - 1),
        payload=st.binary(max_size=100),
    ),
    st.builds(Ack, round=rounds),
    st.builds(
        Heartbeat,
        step=counts,
        steps=counts,
        round=rounds_or_none,
        done=st.booleans(),
        accuracy=st.none() | st.floats(0, 1),
        probe=st.booleans(),
    ),
    st.builds(Goodbye, parting=st.sampled_from(Parting), detail=printable),
    st.builds(Ask, what=st.sampled_from(Asked)),
    st.builds(
        Status,
        id=counts,
        state=printable,
        step=counts,
        steps=counts,
        round=rounds_or_none,
        accuracy=st.none() | st.floats(0, 1),
        bytes_sent=counts,
        bytes_received=counts,
        refused=st.dictionaries(printable, counts, max_size=5),
        neighbours=st.lists(
            st.builds(
                Neighbour,
                id=counts,
                address=printable,
                up=st.booleans(),
                step=counts,
                age=st.none() | counts,
                replaced=counts,
                bytes_sent=counts,
                bytes_received=counts,
                disagreement=st.none() | st.floats(0, 1),
            ),
            max_size=3,
        ).map(tuple),
        loss_labels=st.none() | losses,
        loss_distil=st.none() | losses,
        lessons=counts,
        fresh_lessons=counts,
        failing=st.lists(printable, max_size=16).map(tuple),
        evaluation_images=st.none() | counts,
        best=st.none() | st.floats(0, 1),
        seconds=st.floats(0, allow_infinity=False),
        lesson_age=st.none() | counts,
        first_step=st.none() | counts,
    ),
    st.builds(Piece, data=st.binary(max_size=100), last=st.booleans()),
)

HELLO = Hello(
    major=messages.MAJOR,
    minor=messages.MINOR,
    id=0,
    instance=1,
    contract=Contract(
        public_sha256="ab" * 32, public_batch=32, classes=10, heads=1, temperature=1.0, augment="crop", mode="sync/1"
    ),
    encodings=(Encoding.FLOAT16, Encoding.FLOAT32),
    newest_round=-1,
    address="127.0.0.1:7000",
)
PREDICTIONS = SoftPredictions(round=0, encoding=Encoding.FLOAT16, heads=1, rows=1, classes=2, payload=b"\0" * 4)
BEAT = Heartbeat(step=1, steps=2, round=0, done=False)


def refusal(message: pb.Frame) -> str:
    with pytest.raises(RemoteProtocolError) as raised:
        from_bytes(message.SerializeToString())
    return raised.value.reason


PROTOBUF, MESSAGEPACK = (to_bytes, from_bytes), (messagepack.to_bytes, messagepack.from_bytes)
both = pytest.mark.parametrize(("write", "read"), [PROTOBUF, MESSAGEPACK], ids=["protobuf", "messagepack"])
Write, Read = Callable[[Frame], bytes], Callable[[bytes], Frame]


@both
@given(frame=frames)
@settings(deadline=None)
def test_every_frame_comes_back_as_it_was(write: Write, read: Read, frame: Frame) -> None:
    assert from_wire(to_wire(frame)) == frame
    assert read(write(frame)) == frame


@both
@given(data=st.binary(max_size=300))
@settings(deadline=None)
def test_arbitrary_bytes_raise_nothing_but_a_refusal(write: Write, read: Read, data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        read(data)


@both
@given(frame=frames, at=st.integers(0, 500), value=st.integers(0, 255), cut=st.booleans())
@settings(deadline=None)
def test_damaged_frames_raise_nothing_but_a_refusal(
    write: Write, read: Read, frame: Frame, at: int, value: int, cut: bool
) -> None:
    data = bytearray(write(frame))
    at %= len(data) or 1
    data = data[:at] if cut else data[:at] + bytes([value]) + data[at + 1 :]
    with contextlib.suppress(RemoteProtocolError):
        read(bytes(data))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Contract, pb.Contract),
        (Hello, pb.Hello),
        (SoftPredictions, pb.SoftPredictions),
        (Ack, pb.Ack),
        (Heartbeat, pb.Heartbeat),
        (Goodbye, pb.Goodbye),
        (Ask, pb.Ask),
        (Status, pb.Status),
        (Neighbour, pb.Neighbour),
        (Piece, pb.Piece),
    ],
)
def test_the_proto_mirrors_the_dataclasses_field_for_field(ours: Any, theirs: Any) -> None:
    names = [f.name for f in theirs.DESCRIPTOR.fields if f.name != "contract_sha256"]
    assert sorted(names) == sorted(f.name for f in fields(ours))


def test_bytes_that_are_not_protobuf_are_refused_as_garbled() -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        from_bytes(b"\xff\xff\xff")
    assert raised.value.reason == "garbled"


def test_empty_frames_and_frames_of_a_newer_version_are_told_apart() -> None:
    assert refusal(pb.Frame()) == "empty"
    with pytest.raises(RemoteProtocolError) as raised:
        from_bytes(b"\x7a\x02\x08\x01")  # field 15, a message
    assert raised.value.reason == "unknown"


def test_unknown_fields_are_tolerated() -> None:
    beat = to_wire(BEAT).heartbeat.SerializeToString() + b"\xf8\x7f\x01"  # field 2047, a number
    assert from_bytes(pb.Frame(heartbeat=pb.Heartbeat.FromString(beat)).SerializeToString()) == BEAT


def test_unknown_and_repeated_encodings_in_a_hello_are_dropped_and_the_order_kept() -> None:
    message = to_wire(HELLO)
    message.hello.encodings[:] = [77, pb.ENCODING_FLOAT32, 0, pb.ENCODING_FLOAT16, pb.ENCODING_FLOAT32]  # type: ignore[list-item]
    assert from_wire(message) == replace(HELLO, encodings=(Encoding.FLOAT32, Encoding.FLOAT16))


@pytest.mark.parametrize("number", [0, 6, 77])
def test_predictions_in_an_unknown_encoding_are_refused(number: int) -> None:
    message = to_wire(PREDICTIONS)
    message.predictions.encoding = number  # type: ignore[assignment]
    assert refusal(message) == "encoding"


def test_an_unknown_parting_is_a_leaving_one() -> None:
    message = pb.Frame(goodbye=pb.Goodbye(parting=99, detail="because"))  # type: ignore[arg-type]
    assert from_wire(message) == Goodbye(parting=Parting.LEAVING, detail="because")


@pytest.mark.parametrize(
    ("frame", "field", "value"),
    [
        (HELLO, "id", -1),
        (HELLO, "instance", 0),
        (HELLO, "instance", -5),
        (HELLO, "newest_round", -2),
        (HELLO, "newest_round", 2**62),
        (PREDICTIONS, "round", -1),
        (PREDICTIONS, "round", 2**62),
        (PREDICTIONS, "heads", 0),
        (PREDICTIONS, "rows", 0),
        (PREDICTIONS, "classes", 1),
        (Ack(round=0), "round", -1),
        (Ack(round=0), "round", 2**62),
        (BEAT, "step", -1),
        (BEAT, "steps", -1),
        (BEAT, "round", -2),
        (BEAT, "round", 2**62),
        (BEAT, "accuracy", -0.1),
        (BEAT, "accuracy", 1.1),
        (BEAT, "accuracy", math.nan),
    ],
)
def test_numbers_out_of_range_are_refused(frame: Frame, field: str, value: float) -> None:
    message = to_wire(frame)
    setattr(getattr(message, str(message.WhichOneof("kind"))), field, value)
    assert refusal(message) == "range"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("temperature", math.nan, "range"),
        ("temperature", math.inf, "range"),
        ("temperature", 0.0, "range"),
        ("temperature", -1.0, "range"),
        ("public_batch", 0, "range"),
        ("classes", 1, "range"),
        ("heads", 0, "range"),
        ("public_sha256", "", "text"),
        ("public_sha256", "AB" * 32, "text"),
        ("public_sha256", "g" * 64, "text"),
        ("augment", "x" * 65, "text"),
        ("mode", "async\nedgekd: all is well", "text"),
    ],
)
def test_contracts_that_break_a_rule_are_refused(field: str, value: Any, reason: str) -> None:
    message = to_wire(HELLO)
    setattr(message.hello.contract, field, value)
    message.hello.contract_sha256 = ""
    assert refusal(message) == reason


def test_long_and_unprintable_texts_are_refused() -> None:
    hello = to_wire(HELLO)
    hello.hello.address = "h" * (MAX_ADDRESS + 1)
    assert refusal(hello) == "text"
    assert refusal(pb.Frame(goodbye=pb.Goodbye(detail="x" * (MAX_DETAIL + 1)))) == "text"
    assert refusal(pb.Frame(goodbye=pb.Goodbye(detail="\x1b[2J"))) == "text"


@pytest.mark.parametrize("address", ["box", "box:", "::1:7000", "box:70000", "a:1,b:2"])
def test_a_hello_whose_address_is_none_is_refused(address: str) -> None:
    message = to_wire(HELLO)
    message.hello.address = address
    assert refusal(message) == "address"


def test_own_details_are_cut_to_what_others_accept() -> None:
    back = from_bytes(to_bytes(Goodbye(parting=Parting.REFUSED, detail="x" * 10_000)))
    assert back == Goodbye(parting=Parting.REFUSED, detail="x" * MAX_DETAIL)


def test_a_hello_without_end_is_refused() -> None:
    message = to_wire(HELLO)
    message.hello.encodings.extend([pb.ENCODING_FLOAT32] * MAX_ENCODINGS)
    assert refusal(message) == "range"


def test_a_hello_without_contract_is_refused() -> None:
    message = to_wire(HELLO)
    message.hello.ClearField("contract")
    assert refusal(message) == "text"


def test_a_contract_that_holds_more_than_is_known_here_is_refused_unless_the_major_version_differs() -> None:
    message = to_wire(HELLO)
    message.hello.contract_sha256 = "0" * 64
    assert refusal(message) == "contract"
    message.hello.major = messages.MAJOR + 1  # for which the receiver has a better reason
    assert from_wire(message) == replace(HELLO, major=messages.MAJOR + 1)


def test_a_whole_number_as_temperature_makes_no_other_contract() -> None:
    whole = replace(HELLO, contract=replace(HELLO.contract, temperature=2))
    assert from_bytes(to_bytes(whole)) == whole


STATUS = Status(
    id=0,
    state="training",
    step=1,
    steps=2,
    round=0,
    accuracy=None,
    bytes_sent=0,
    bytes_received=0,
    refused={},
    neighbours=(),
)


def test_a_status_is_bounded() -> None:
    one = Neighbour(id=1, address="", up=True, step=0, age=None, replaced=0, bytes_sent=0, bytes_received=0)
    assert refusal(to_wire(replace(STATUS, neighbours=(one,) * (MAX_STATUS_NEIGHBOURS + 1)))) == "range"
    assert refusal(to_wire(replace(STATUS, refused={str(i): 1 for i in range(MAX_STATUS_REASONS + 1)}))) == "range"
    assert refusal(to_wire(replace(STATUS, refused={"shape": -1}))) == "range"
    assert refusal(to_wire(replace(STATUS, neighbours=(replace(one, age=-1),)))) == "range"
    for beyond in (-0.1, 1.1, float("nan")):
        assert refusal(to_wire(replace(STATUS, neighbours=(replace(one, disagreement=beyond),)))) == "range"
    assert refusal(to_wire(replace(STATUS, state="x" * 65))) == "text"
    assert refusal(to_wire(replace(STATUS, neighbours=(replace(one, address="\x1b[31m"),)))) == "text"


def test_what_a_status_says_of_the_training_is_bounded() -> None:
    broken: dict[str, list[Any]] = {
        "loss_labels": [math.nan, math.inf, -math.inf],
        "loss_distil": [math.nan, math.inf, -math.inf],
        "lessons": [-1],
        "fresh_lessons": [-1],
        "failing": [("metrics",) * (MAX_STATUS_FAILING + 1)],
        "evaluation_images": [-1],
        "best": [-0.1, 1.1, math.nan],
        "seconds": [-0.1, math.nan, math.inf],
        "lesson_age": [-1],
        "first_step": [-1],
    }
    assert broken.keys() == {f.name for f in fields(messages.Training)}
    for name, values in broken.items():
        for value in values:
            assert refusal(to_wire(replace(STATUS, **{name: value}))) == "range", (name, value)
    for word in ("x" * 65, "\x1b[31m"):
        assert refusal(to_wire(replace(STATUS, failing=(word,)))) == "text"


OF_A_NEIGHBOUR = Neighbour(
    id=1,
    address="box:7000",
    up=True,
    step=6,
    age=2,
    replaced=3,
    bytes_sent=10,
    bytes_received=20,
    disagreement=0.25,
)
SINCE_1_4 = replace(STATUS, step=7, steps=9, round=6, accuracy=0.5, bytes_sent=10, bytes_received=20)
SINCE_1_4 = replace(SINCE_1_4, refused={"shape": 1}, neighbours=(OF_A_NEIGHBOUR,))
SINCE_1_5 = replace(
    SINCE_1_4,
    loss_labels=0.5,
    loss_distil=-0.25,
    lessons=5,
    fresh_lessons=4,
    failing=("checkpoint", "metrics"),
    evaluation_images=180,
    best=0.75,
    seconds=1.5,
    lesson_age=0,
    first_step=3,
)
PROTOBUF_1_4 = (
    "1208747261696e696e6718072009280631000000000000e03f380a40144a090a0573686170651001522108011208626f783a373030301801"
    "200628023003380a401449000000000000d03f"
)
PROTOBUF_1_5 = (
    "59000000000000e03f61000000000000d0bf680570047a0a636865636b706f696e747a076d6574726963738001b4018901000000000000e8"
    "3f9101000000000000f83f980100a00103"
)
MESSAGEPACK_1_4 = (
    "a57374617465a8747261696e696e67a47374657007a5737465707309a5726f756e6406a86163637572616379cb3fe0000000000000aa6279"
    "7465735f73656e740aae62797465735f726563656976656414a77265667573656481a5736861706501aa6e65696768626f7572739189a269"
    "6401a761646472657373a8626f783a37303030a27570c3a47374657006a361676502a87265706c6163656403aa62797465735f73656e740a"
    "ae62797465735f726563656976656414ac64697361677265656d656e74cb3fd0000000000000"
)
MESSAGEPACK_1_5 = (
    "ab6c6f73735f6c6162656c73cb3fe0000000000000ab6c6f73735f64697374696ccbbfd0000000000000a76c6573736f6e7305ad66726573"
    "685f6c6573736f6e7304a76661696c696e6792aa636865636b706f696e74a76d657472696373b16576616c756174696f6e5f696d61676573"
    "ccb4a462657374cb3fe8000000000000a77365636f6e6473cb3ff8000000000000aa6c6573736f6e5f61676500aa66697273745f73746570"
    "03"
)


@pytest.mark.parametrize(
    ("wire", "recorded", "status"),
    [
        (protobuf, f"3a4b{PROTOBUF_1_4}", SINCE_1_4),
        (protobuf, f"3a9401{PROTOBUF_1_4}{PROTOBUF_1_5}", SINCE_1_5),
        (messagepack, f"81a673746174757389{MESSAGEPACK_1_4}", SINCE_1_4),
        (messagepack, f"81a6737461747573de0013{MESSAGEPACK_1_4}{MESSAGEPACK_1_5}", SINCE_1_5),
    ],
)
def test_a_status_of_1_4_and_one_of_1_5_are_these_bytes_for_ever(wire: Any, recorded: str, status: Status) -> None:
    assert wire.from_bytes(bytes.fromhex(recorded)) == status
    assert wire.to_bytes(status).hex() == recorded


def test_a_status_has_room_for_all_that_may_fail_to_be_written() -> None:
    assert len(FILES) <= MAX_STATUS_FAILING
    assert max(map(len, FILES)) <= MAX_NAME


def test_an_older_peer_says_nothing_of_its_training() -> None:
    older = from_bytes(bytes.fromhex(f"3a4b{PROTOBUF_1_4}"))
    assert isinstance(older, Status)
    assert {f.name: getattr(older, f.name) for f in fields(messages.Training)} == asdict(messages.Training())


def test_a_piece_is_bounded_and_an_unknown_question_refused() -> None:
    assert refusal(to_wire(Piece(data=b"x" * (PIECE + 1), last=False))) == "range"
    assert refusal(pb.Frame(ask=pb.Ask(what=7))) == "unknown"  # type: ignore[arg-type]
