from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Encoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENCODING_UNSPECIFIED: _ClassVar[Encoding]
    ENCODING_FLOAT32: _ClassVar[Encoding]
    ENCODING_FLOAT16: _ClassVar[Encoding]

class Parting(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PARTING_UNSPECIFIED: _ClassVar[Parting]
    PARTING_DONE: _ClassVar[Parting]
    PARTING_LEAVING: _ClassVar[Parting]
    PARTING_REFUSED: _ClassVar[Parting]
    PARTING_DUPLICATE: _ClassVar[Parting]
ENCODING_UNSPECIFIED: Encoding
ENCODING_FLOAT32: Encoding
ENCODING_FLOAT16: Encoding
PARTING_UNSPECIFIED: Parting
PARTING_DONE: Parting
PARTING_LEAVING: Parting
PARTING_REFUSED: Parting
PARTING_DUPLICATE: Parting

class Frame(_message.Message):
    __slots__ = ("hello", "predictions", "ack", "heartbeat", "goodbye")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    predictions: SoftPredictions
    ack: Ack
    heartbeat: Heartbeat
    goodbye: Goodbye
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., predictions: _Optional[_Union[SoftPredictions, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ...) -> None: ...

class Contract(_message.Message):
    __slots__ = ("public_sha256", "public_batch", "classes", "heads", "temperature", "augment", "mode")
    PUBLIC_SHA256_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_BATCH_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    AUGMENT_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    public_sha256: str
    public_batch: int
    classes: int
    heads: int
    temperature: float
    augment: str
    mode: str
    def __init__(self, public_sha256: _Optional[str] = ..., public_batch: _Optional[int] = ..., classes: _Optional[int] = ..., heads: _Optional[int] = ..., temperature: _Optional[float] = ..., augment: _Optional[str] = ..., mode: _Optional[str] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("major", "minor", "id", "instance", "contract", "contract_sha256", "encodings", "newest_round", "address")
    MAJOR_FIELD_NUMBER: _ClassVar[int]
    MINOR_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_SHA256_FIELD_NUMBER: _ClassVar[int]
    ENCODINGS_FIELD_NUMBER: _ClassVar[int]
    NEWEST_ROUND_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    major: int
    minor: int
    id: int
    instance: int
    contract: Contract
    contract_sha256: str
    encodings: _containers.RepeatedScalarFieldContainer[Encoding]
    newest_round: int
    address: str
    def __init__(self, major: _Optional[int] = ..., minor: _Optional[int] = ..., id: _Optional[int] = ..., instance: _Optional[int] = ..., contract: _Optional[_Union[Contract, _Mapping]] = ..., contract_sha256: _Optional[str] = ..., encodings: _Optional[_Iterable[_Union[Encoding, str]]] = ..., newest_round: _Optional[int] = ..., address: _Optional[str] = ...) -> None: ...

class SoftPredictions(_message.Message):
    __slots__ = ("round", "encoding", "heads", "rows", "classes", "payload")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    round: int
    encoding: Encoding
    heads: int
    rows: int
    classes: int
    payload: bytes
    def __init__(self, round: _Optional[int] = ..., encoding: _Optional[_Union[Encoding, str]] = ..., heads: _Optional[int] = ..., rows: _Optional[int] = ..., classes: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("round",)
    ROUND_FIELD_NUMBER: _ClassVar[int]
    round: int
    def __init__(self, round: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("step", "steps", "round", "done", "accuracy", "probe")
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    step: int
    steps: int
    round: int
    done: bool
    accuracy: float
    probe: bool
    def __init__(self, step: _Optional[int] = ..., steps: _Optional[int] = ..., round: _Optional[int] = ..., done: bool = ..., accuracy: _Optional[float] = ..., probe: bool = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("parting", "detail")
    PARTING_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    parting: Parting
    detail: str
    def __init__(self, parting: _Optional[_Union[Parting, str]] = ..., detail: _Optional[str] = ...) -> None: ...
