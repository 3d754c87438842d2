"""Frames to protobuf and back, with all checks of received bytes that need no contract.

Additions of newer minor versions are accepted: unknown fields, unknown encodings in a Hello, unknown partings. Invalid
bytes are refused with a RemoteProtocolError. Its reason is one of:

- "garbled": the bytes are not protobuf;
- "empty", "unknown": the frame has no kind, or a kind of a newer version;
- "range": a number is too small or too large;
- "text": a text is too long or not printable, since it will be logged;
- "address": a text is not HOST:PORT;
- "encoding": the encoding of predictions is unknown;
- "contract": the hash of the contract is wrong.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from enum import Enum
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from edgekd.errors import ConfigError, RemoteProtocolError
from edgekd.names import check_entries
from edgekd.protocol.addresses import parse_address
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
from peer.wire import peer_pb2 as pb

Number = TypeVar("Number", int, float)
Named = TypeVar("Named", bound=Enum)

MAX_NAME, MAX_ADDRESS, MAX_COMMON_DATA, MAX_DETAIL = 64, 512, 512, 4096  # characters
MAX_ENCODINGS = 64
MAX_STATUS_NEIGHBOURS, MAX_STATUS_REASONS, MAX_STATUS_FAILING = 256, 64, 16  # entries of a Status
HEX = frozenset("0123456789abcdef")


def _numbers(names: type[Named], wire: Any) -> dict[Named, Any]:
    """The number that the proto file gives to each member of an enumeration.

    The proto file calls the member FLOAT16 of Encoding ENCODING_FLOAT16. It also has ENCODING_UNSPECIFIED, its zero.

    Args:
        names: the enumeration.
        wire: the enumeration that protobuf has generated.

    Raises:
        RuntimeError: other than that, the two differ in a member; this is a bug of edgekd.
    """
    prefix = f"{names.__name__.upper()}_"
    check_entries(
        f"{names.__name__} of the proto file",
        wire.keys(),
        [prefix + "UNSPECIFIED", *(prefix + each.name for each in names)],
    )
    return {each: wire.Value(prefix + each.name) for each in names}


_ENCODINGS = _numbers(Encoding, pb.Encoding)
_PARTINGS = _numbers(Parting, pb.Parting)
_ASKED = _numbers(Asked, pb.Asked)
_ASKED_OF = {number: asked for asked, number in _ASKED.items()}
_ENCODING_OF = {number: encoding for encoding, number in _ENCODINGS.items()}
_PARTING_OF = {number: parting for parting, number in _PARTINGS.items()}


def to_bytes(frame: Frame) -> bytes:
    """Write a frame as protobuf."""
    return to_wire(frame).SerializeToString()


def from_bytes(data: bytes) -> Frame:
    """Read a frame from protobuf.

    Raises:
        RemoteProtocolError: `data` is not a frame, or the frame breaks a rule of peer.proto.
    """
    try:
        message = pb.Frame.FromString(data)
    except DecodeError as error:
        raise RemoteProtocolError("garbled", f"{len(data)} bytes are not a frame: {error}") from None
    return from_wire(message)


def to_wire(frame: Frame) -> pb.Frame:
    """Convert a frame to a protobuf message."""
    if isinstance(frame, SoftPredictions):
        return pb.Frame(
            predictions=pb.SoftPredictions(
                round=frame.round,
                encoding=_ENCODINGS[frame.encoding],
                heads=frame.heads,
                rows=frame.rows,
                classes=frame.classes,
                payload=frame.payload,
            )
        )
    if isinstance(frame, Ack):
        return pb.Frame(ack=pb.Ack(round=frame.round))
    if isinstance(frame, Heartbeat):
        return pb.Frame(
            heartbeat=pb.Heartbeat(
                step=frame.step,
                steps=frame.steps,
                round=frame.round,
                done=frame.done,
                accuracy=frame.accuracy,
                probe=frame.probe,
            )
        )
    if isinstance(frame, Goodbye):
        return pb.Frame(goodbye=pb.Goodbye(parting=_PARTINGS[frame.parting], detail=frame.detail[:MAX_DETAIL]))
    if isinstance(frame, Ask):
        return pb.Frame(ask=pb.Ask(what=_ASKED[frame.what]))
    if isinstance(frame, Status):
        neighbours = [pb.Neighbour(**asdict(neighbour)) for neighbour in frame.neighbours]
        fields = {f.name: getattr(frame, f.name) for f in dataclasses.fields(frame) if f.name != "neighbours"}
        return pb.Frame(status=pb.Status(**fields, neighbours=neighbours))
    if isinstance(frame, Piece):
        return pb.Frame(piece=pb.Piece(data=frame.data, last=frame.last))
    return pb.Frame(hello=_hello_to_wire(frame))


def from_wire(message: pb.Frame) -> Frame:
    """Convert a protobuf message to a frame.

    Raises:
        RemoteProtocolError: the message is not a frame, or the frame breaks a rule of peer.proto.
    """
    kind = message.WhichOneof("kind")
    if kind is None:
        if message.ByteSize():  # counts unknown fields
            raise RemoteProtocolError("unknown", "a frame of a kind that this version does not know")
        raise RemoteProtocolError("empty", "a frame without content")
    return _READERS[kind](getattr(message, kind))


def _hello_to_wire(hello: Hello) -> pb.Hello:
    contract = replace(hello.contract, temperature=float(hello.contract.temperature))  # 1 and 1.0 hash differently
    return pb.Hello(
        major=hello.major,
        minor=hello.minor,
        id=hello.id,
        instance=hello.instance,
        contract=pb.Contract(
            public_sha256=contract.public_sha256,
            public_batch=contract.public_batch,
            classes=contract.classes,
            heads=contract.heads,
            temperature=contract.temperature,
            augment=contract.augment,
            mode=contract.mode,
        ),
        contract_sha256=contract.digest(),
        encodings=[_ENCODINGS[encoding] for encoding in hello.encodings],
        newest_round=hello.newest_round,
        address=hello.address,
        common_data=hello.common_data,
    )


def _hello(message: pb.Hello) -> Hello:
    if len(message.encodings) > MAX_ENCODINGS:
        raise RemoteProtocolError("range", f"at most {MAX_ENCODINGS} encodings, got {len(message.encodings)}")
    known = dict.fromkeys(_ENCODING_OF[number] for number in message.encodings if number in _ENCODING_OF)
    contract = _contract(message.contract)
    # Another major version has other contracts. The receiver refuses the version itself, so do not check its hash here.
    if message.major == MAJOR and message.contract_sha256 not in ("", contract.digest()):
        raise RemoteProtocolError("contract", "the contract holds what this version does not know: upgrade it")
    return Hello(
        major=message.major,
        minor=message.minor,
        id=_number("id", message.id, 0),
        instance=_number("instance", message.instance, 1),
        contract=contract,
        encodings=tuple(known),
        newest_round=_round("newest_round", message.newest_round, lowest=-1),
        address=_address(message.address),
        common_data=_text("common_data", message.common_data, MAX_COMMON_DATA),
    )


def _contract(message: pb.Contract) -> Contract:
    if len(message.public_sha256) != 64 or not HEX.issuperset(message.public_sha256):
        raise RemoteProtocolError("text", f"public_sha256 must be 64 hex digits, got {message.public_sha256[:80]!r}")
    if not 0 < message.temperature < math.inf:
        raise RemoteProtocolError("range", f"temperature must be > 0 and finite, got {message.temperature}")
    return Contract(
        public_sha256=message.public_sha256,
        public_batch=_number("public_batch", message.public_batch, 1),
        classes=_number("classes", message.classes, 2),
        heads=_number("heads", message.heads, 1),
        temperature=message.temperature,
        augment=_text("augment", message.augment, MAX_NAME),
        mode=_text("mode", message.mode, MAX_NAME),
    )


def _predictions(message: pb.SoftPredictions) -> SoftPredictions:
    if message.encoding not in _ENCODING_OF:
        raise RemoteProtocolError("encoding", f"encoding {message.encoding} is not one that this version can read")
    return SoftPredictions(
        round=_round("round", message.round),
        encoding=_ENCODING_OF[message.encoding],
        heads=_number("heads", message.heads, 1),
        rows=_number("rows", message.rows, 1),
        classes=_number("classes", message.classes, 2),
        payload=message.payload,
    )


def _ack(message: pb.Ack) -> Ack:
    return Ack(round=_round("round", message.round))


def _heartbeat(message: pb.Heartbeat) -> Heartbeat:
    return Heartbeat(
        step=_number("step", message.step, 0),
        steps=_number("steps", message.steps, 0),
        round=_round("round", message.round, lowest=-1),
        done=message.done,
        accuracy=_optional(_fraction, "accuracy", message),
        probe=message.probe,
    )


def _goodbye(message: pb.Goodbye) -> Goodbye:
    parting = _PARTING_OF.get(message.parting, Parting.LEAVING)  # an unknown parting ends the stream, too
    return Goodbye(parting=parting, detail=_text("detail", message.detail, MAX_DETAIL))


def _ask(message: pb.Ask) -> Ask:
    if message.what not in _ASKED_OF:
        raise RemoteProtocolError("unknown", f"asked for {message.what}, which this version does not know")
    return Ask(what=_ASKED_OF[message.what])


def _status(message: pb.Status) -> Status:
    if len(message.refused) > MAX_STATUS_REASONS or len(message.neighbours) > MAX_STATUS_NEIGHBOURS:
        found = f"{len(message.refused)} and {len(message.neighbours)}"
        raise RemoteProtocolError(
            "range", f"at most {MAX_STATUS_REASONS} reasons and {MAX_STATUS_NEIGHBOURS} neighbours, got {found}"
        )
    if len(message.failing) > MAX_STATUS_FAILING:
        raise RemoteProtocolError("range", f"at most {MAX_STATUS_FAILING} are failing, got {len(message.failing)}")
    return Status(
        id=_number("id", message.id, 0),
        state=_text("state", message.state, MAX_NAME),
        step=_number("step", message.step, 0),
        steps=_number("steps", message.steps, 0),
        round=_round("round", message.round, lowest=-1),
        accuracy=_optional(_fraction, "accuracy", message),
        bytes_sent=_number("bytes_sent", message.bytes_sent, 0),
        bytes_received=_number("bytes_received", message.bytes_received, 0),
        refused={_text("reason", why, MAX_NAME): _number("count", n, 0) for why, n in sorted(message.refused.items())},
        neighbours=tuple(_neighbour(each) for each in message.neighbours),
        loss_labels=_optional(_finite, "loss_labels", message),
        loss_distil=_optional(_finite, "loss_distil", message),
        lessons=_number("lessons", message.lessons, 0),
        fresh_lessons=_number("fresh_lessons", message.fresh_lessons, 0),
        failing=tuple(_text("failing", each, MAX_NAME) for each in message.failing),
        evaluation_images=_optional(_count, "evaluation_images", message),
        best=_optional(_fraction, "best", message),
        seconds=_finite("seconds", message.seconds, 0),
        lesson_age=_optional(_count, "lesson_age", message),
        first_step=_optional(_count, "first_step", message),
    )


def _neighbour(message: pb.Neighbour) -> Neighbour:
    return Neighbour(
        id=_number("id", message.id, 0),
        address=_text("address", message.address, MAX_ADDRESS),
        up=message.up,
        step=_number("step", message.step, 0),
        age=_optional(_count, "age", message),
        replaced=_number("replaced", message.replaced, 0),
        bytes_sent=_number("bytes_sent", message.bytes_sent, 0),
        bytes_received=_number("bytes_received", message.bytes_received, 0),
        disagreement=_optional(_fraction, "disagreement", message),
    )


def _piece(message: pb.Piece) -> Piece:
    if len(message.data) > PIECE:
        raise RemoteProtocolError("range", f"a piece is at most {PIECE} bytes, got {len(message.data)}")
    return Piece(data=message.data, last=message.last)


_READERS: dict[str, Callable[[Any], Frame]] = {
    "hello": _hello,
    "predictions": _predictions,
    "ack": _ack,
    "heartbeat": _heartbeat,
    "goodbye": _goodbye,
    "ask": _ask,
    "status": _status,
    "piece": _piece,
}


def _optional(check: Callable[[str, Number], Number], name: str, message: Any) -> Number | None:
    """A field of `message` after `check`, which raises if it is invalid; None if the field is absent."""
    return check(name, getattr(message, name)) if message.HasField(name) else None


def _number(name: str, value: int, lowest: int) -> int:
    if value < lowest:
        raise RemoteProtocolError("range", f"{name} must be >= {lowest}, got {value}")
    return value


def _count(name: str, value: int) -> int:
    return _number(name, value, 0)


def _fraction(name: str, value: float) -> float:
    if not 0 <= value <= 1:  # written so that NaN fails too
        raise RemoteProtocolError("range", f"{name} must be in [0, 1], got {value}")
    return value


def _finite(name: str, value: float, lowest: float = -math.inf) -> float:
    if not (math.isfinite(value) and value >= lowest):
        raise RemoteProtocolError("range", f"{name} must be finite and >= {lowest}, got {value}")
    return value


def _round(name: str, value: int, *, lowest: int = 0) -> int:
    if not lowest <= value < MAX_ROUND:
        raise RemoteProtocolError("range", f"{name} must be in [{lowest}, 2^62), got {value}")
    return value


def _address(value: str) -> str:
    _text("address", value, MAX_ADDRESS)
    try:
        if value:
            parse_address(value)
    except ConfigError as error:
        raise RemoteProtocolError("address", str(error)) from None
    return value


def _text(name: str, value: str, longest: int) -> str:
    if len(value) > longest:
        raise RemoteProtocolError("text", f"{name} must be at most {longest} characters, got {len(value)}")
    if not value.isprintable():  # it appears in logs and on terminals
        raise RemoteProtocolError("text", f"{name} must be printable, got {value[:80]!r}")
    return value
