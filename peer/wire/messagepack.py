"""Frames to MessagePack and back: each message of peer.proto is a map from field names to values.

Only `peer/wire/protobuf.py` knows what a frame may contain. Here the bytes become a message of peer.proto, field by
field, following its descriptor; `protobuf.py` turns the message into a frame. So fields, types, optional fields,
additions of newer minor versions and all checks are the same as with protobuf. A field with its default value may be
left out. An enum is its number. Unknown keys are skipped.

Invalid bytes are refused with the reasons of `peer/wire/protobuf.py`: "garbled" if bytes, types or nesting are wrong or
a key appears twice; "range" if a number does not fit its field.
"""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import msgpack
from google.protobuf.message import Message

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.messages import Frame
from peer.wire import peer_pb2 as pb
from peer.wire.protobuf import MAX_STATUS_NEIGHBOURS, from_wire, to_wire

MAX_ITEMS = MAX_STATUS_NEIGHBOURS  # of one list or map; peer.proto allows no longer ones
# Lists and maps in one message: an empty one takes 1 byte on the wire and 60 bytes in memory.
MAX_CONTAINERS = 4 * MAX_STATUS_NEIGHBOURS


def to_bytes(frame: Frame) -> bytes:
    """Write a frame as MessagePack."""
    packed: bytes = msgpack.packb(_plain(to_wire(frame)))
    return packed


def from_bytes(data: bytes) -> Frame:
    """Read a frame from MessagePack.

    Raises:
        RemoteProtocolError: `data` is not a frame, or the frame breaks a rule of peer.proto.
    """
    content, message = _content(data), pb.Frame()
    kinds = [kind for kind in content if kind in _fields(message.DESCRIPTOR)]
    if content and not kinds:
        raise RemoteProtocolError("unknown", "a frame of a kind that this version does not know")
    if len(kinds) > 1:
        raise RemoteProtocolError("garbled", f"a frame of {len(kinds)} kinds")
    _fill(message, content)
    return from_wire(message)


def _content(data: bytes) -> dict[str, Any]:
    containers = 0

    def counted(container: Any) -> Any:
        nonlocal containers
        containers += 1
        if containers > MAX_CONTAINERS:
            raise ValueError(f"more than {MAX_CONTAINERS} lists and maps")
        return container

    def unique(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
        pairs = list(pairs)
        content = dict(pairs)
        if len(content) != len(pairs):
            raise ValueError("a key comes twice")
        return counted(content)  # type: ignore[no-any-return]

    try:
        content = msgpack.unpackb(
            data,
            object_pairs_hook=unique,
            list_hook=counted,
            ext_hook=_refuse_extension,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            max_ext_len=0,
        )
    except ValueError as error:  # every error of msgpack is one, too deep a nesting too
        raise RemoteProtocolError("garbled", f"{len(data)} bytes are not a frame: {error}") from None
    if not isinstance(content, dict):
        raise RemoteProtocolError("garbled", f"a frame is a map, not {type(content).__name__}")
    return content


@functools.cache
def _fields(descriptor: Any) -> dict[Any, Any]:
    """The fields of a message by name. protobuf's own mapping also accepts bytes, and names with a NUL in them."""
    return {field.name: field for field in descriptor.fields}


def _refuse_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"extension {code}")


def _fill(message: Any, content: Any) -> None:
    """Set the fields of a protobuf message to the values in `content`."""
    if not isinstance(content, dict):
        raise RemoteProtocolError("garbled", f"{message.DESCRIPTOR.name} is a map, not {type(content).__name__}")
    fields = _fields(message.DESCRIPTOR)
    for name, value in content.items():
        if name not in fields:
            continue
        field = fields[name]
        default = field.default_value  # [] of a list or map, None of a message
        try:
            if default is None:
                getattr(message, name).SetInParent()
                _fill(getattr(message, name), value)
            elif not isinstance(default, list):
                setattr(message, name, _of_type(type(default), name, value))
            elif field.message_type is None:
                kind = str if field.cpp_type == field.CPPTYPE_STRING else int  # an enum is its number
                getattr(message, name).extend(_of_type(kind, name, each) for each in _of_type(list, name, value))
            elif field.message_type.GetOptions().map_entry:
                for key, count in _of_type(dict, name, value).items():
                    getattr(message, name)[_of_type(str, name, key)] = _of_type(int, name, count)
            else:
                for each in _of_type(list, name, value):
                    _fill(getattr(message, name).add(), each)
        except ValueError as error:
            raise RemoteProtocolError("range", f"{name}: {error}") from None


def _of_type(kind: type, name: str, value: Any) -> Any:
    """Return `value` if it has exactly the type `kind`, else raise; an int is accepted for a float."""
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise RemoteProtocolError("garbled", f"{name} must be {kind.__name__}, got {type(value).__name__}")
    return value


def _plain(message: Message) -> dict[str, Any]:
    """The fields of a protobuf message that differ from their default."""
    return {field.name: _plain_value(value) for field, value in message.ListFields()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, (int, float, str, bytes)):
        return value
    if isinstance(value, Message):
        return _plain(value)
    if isinstance(value, Mapping):
        return dict(value)
    return [_plain_value(each) for each in value]
