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
    ENCODING_UINT8: _ClassVar[Encoding]
    ENCODING_TOP_K: _ClassVar[Encoding]
    ENCODING_ONE_BIT: _ClassVar[Encoding]

class Parting(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PARTING_UNSPECIFIED: _ClassVar[Parting]
    PARTING_DONE: _ClassVar[Parting]
    PARTING_LEAVING: _ClassVar[Parting]
    PARTING_REFUSED: _ClassVar[Parting]
    PARTING_DUPLICATE: _ClassVar[Parting]

class Asked(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ASKED_UNSPECIFIED: _ClassVar[Asked]
    ASKED_STATUS: _ClassVar[Asked]
    ASKED_PUBLIC: _ClassVar[Asked]
ENCODING_UNSPECIFIED: Encoding
ENCODING_FLOAT32: Encoding
ENCODING_FLOAT16: Encoding
ENCODING_UINT8: Encoding
ENCODING_TOP_K: Encoding
ENCODING_ONE_BIT: Encoding
PARTING_UNSPECIFIED: Parting
PARTING_DONE: Parting
PARTING_LEAVING: Parting
PARTING_REFUSED: Parting
PARTING_DUPLICATE: Parting
ASKED_UNSPECIFIED: Asked
ASKED_STATUS: Asked
ASKED_PUBLIC: Asked

class Frame(_message.Message):
    __slots__ = ("hello", "predictions", "ack", "heartbeat", "goodbye", "ask", "status", "piece")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    ASK_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PIECE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    predictions: SoftPredictions
    ack: Ack
    heartbeat: Heartbeat
    goodbye: Goodbye
    ask: Ask
    status: Status
    piece: Piece
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., predictions: _Optional[_Union[SoftPredictions, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ..., ask: _Optional[_Union[Ask, _Mapping]] = ..., status: _Optional[_Union[Status, _Mapping]] = ..., piece: _Optional[_Union[Piece, _Mapping]] = ...) -> None: ...

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
    __slots__ = ("major", "minor", "id", "instance", "contract", "contract_sha256", "encodings", "newest_round", "address", "common_data")
    MAJOR_FIELD_NUMBER: _ClassVar[int]
    MINOR_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_SHA256_FIELD_NUMBER: _ClassVar[int]
    ENCODINGS_FIELD_NUMBER: _ClassVar[int]
    NEWEST_ROUND_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    COMMON_DATA_FIELD_NUMBER: _ClassVar[int]
    major: int
    minor: int
    id: int
    instance: int
    contract: Contract
    contract_sha256: str
    encodings: _containers.RepeatedScalarFieldContainer[Encoding]
    newest_round: int
    address: str
    common_data: str
    def __init__(self, major: _Optional[int] = ..., minor: _Optional[int] = ..., id: _Optional[int] = ..., instance: _Optional[int] = ..., contract: _Optional[_Union[Contract, _Mapping]] = ..., contract_sha256: _Optional[str] = ..., encodings: _Optional[_Iterable[_Union[Encoding, str]]] = ..., newest_round: _Optional[int] = ..., address: _Optional[str] = ..., common_data: _Optional[str] = ...) -> None: ...

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

class Ask(_message.Message):
    __slots__ = ("what",)
    WHAT_FIELD_NUMBER: _ClassVar[int]
    what: Asked
    def __init__(self, what: _Optional[_Union[Asked, str]] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("id", "state", "step", "steps", "round", "accuracy", "bytes_sent", "bytes_received", "refused", "neighbours", "loss_labels", "loss_distil", "lessons", "fresh_lessons", "failing", "evaluation_images", "best", "seconds", "lesson_age", "first_step")
    class RefusedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    BYTES_SENT_FIELD_NUMBER: _ClassVar[int]
    BYTES_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    LOSS_LABELS_FIELD_NUMBER: _ClassVar[int]
    LOSS_DISTIL_FIELD_NUMBER: _ClassVar[int]
    LESSONS_FIELD_NUMBER: _ClassVar[int]
    FRESH_LESSONS_FIELD_NUMBER: _ClassVar[int]
    FAILING_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_IMAGES_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    LESSON_AGE_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    id: int
    state: str
    step: int
    steps: int
    round: int
    accuracy: float
    bytes_sent: int
    bytes_received: int
    refused: _containers.ScalarMap[str, int]
    neighbours: _containers.RepeatedCompositeFieldContainer[Neighbour]
    loss_labels: float
    loss_distil: float
    lessons: int
    fresh_lessons: int
    failing: _containers.RepeatedScalarFieldContainer[str]
    evaluation_images: int
    best: float
    seconds: float
    lesson_age: int
    first_step: int
    def __init__(self, id: _Optional[int] = ..., state: _Optional[str] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., round: _Optional[int] = ..., accuracy: _Optional[float] = ..., bytes_sent: _Optional[int] = ..., bytes_received: _Optional[int] = ..., refused: _Optional[_Mapping[str, int]] = ..., neighbours: _Optional[_Iterable[_Union[Neighbour, _Mapping]]] = ..., loss_labels: _Optional[float] = ..., loss_distil: _Optional[float] = ..., lessons: _Optional[int] = ..., fresh_lessons: _Optional[int] = ..., failing: _Optional[_Iterable[str]] = ..., evaluation_images: _Optional[int] = ..., best: _Optional[float] = ..., seconds: _Optional[float] = ..., lesson_age: _Optional[int] = ..., first_step: _Optional[int] = ...) -> None: ...

class Neighbour(_message.Message):
    __slots__ = ("id", "address", "up", "step", "age", "replaced", "bytes_sent", "bytes_received", "disagreement")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    REPLACED_FIELD_NUMBER: _ClassVar[int]
    BYTES_SENT_FIELD_NUMBER: _ClassVar[int]
    BYTES_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    DISAGREEMENT_FIELD_NUMBER: _ClassVar[int]
    id: int
    address: str
    up: bool
    step: int
    age: int
    replaced: int
    bytes_sent: int
    bytes_received: int
    disagreement: float
    def __init__(self, id: _Optional[int] = ..., address: _Optional[str] = ..., up: bool = ..., step: _Optional[int] = ..., age: _Optional[int] = ..., replaced: _Optional[int] = ..., bytes_sent: _Optional[int] = ..., bytes_received: _Optional[int] = ..., disagreement: _Optional[float] = ...) -> None: ...

class Piece(_message.Message):
    __slots__ = ("data", "last")
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    last: bool
    def __init__(self, data: _Optional[bytes] = ..., last: bool = ...) -> None: ...
