"""The messages between peers, as plain dataclasses.

`peer/wire/protobuf.py` and `peer/wire/messagepack.py` convert them to bytes and back.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MAJOR, MINOR = 1, 5  # version of the protocol: another major version is refused, another minor version is accepted
MAX_ROUND = 2**62  # all rounds are below this number
PIECE = 32 * 1024  # bytes; together with the rest of its frame it is shorter than what every transport carries


class Encoding(str, Enum):
    """How the payload of `SoftPredictions` is packed; the values are those of ``--encoding``."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    UINT8 = "uint8"
    TOP_K = "top-k"
    ONE_BIT = "one-bit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """What the peers of a group must agree on before they exchange predictions."""

    public_sha256: str  # of the public file, 64 hexadecimal digits; that file also holds the class names
    public_batch: int  # images in a public batch, >= 1
    classes: int  # >= 2
    heads: int  # number of output heads, >= 1; the predictions of all heads are sent
    temperature: float  # > 0; the predictions are softmax(logits / temperature)
    augment: str  # augmentation of the public batch, one of `edgekd.config.PUBLIC_AUGMENTATIONS`
    mode: str  # "async", "sync/N" with N = broadcast_every, or "sync/N/STEPS" with the steps of a first phase

    def digest(self) -> str:
        """The SHA-256 of the contract, in hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def differences(self, other: "Contract") -> dict[str, str]:
        """The fields that differ, each with a text of both values.

        The text is for example ``temperature: 1.0 here, 2.0 there``; `other` is "there".
        """
        pairs = [(f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]
        return {name: f"{name}: {here} here, {there} there" for name, here, there in pairs if here != there}


@dataclass(frozen=True, kw_only=True, slots=True)
class Hello:
    """The first frame that each side of a stream sends."""

    major: int
    minor: int
    id: int  # the peer's id, >= 0
    instance: int  # random number of this start of the process, in [1, 2^63)
    contract: Contract
    encodings: tuple[Encoding, ...]  # the encodings that the sender can read, the best one first
    newest_round: int  # the newest one that the sender has published; -1: none. Up to 1.2 also one it had heard of
    address: str  # "HOST:PORT" where the sender listens; "" if it does not listen
    common_data: str = ""  # "data digits, size 32, ..."; "": the sender has pictures of its own, or is older than 1.4


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftPredictions:
    """Packed predictions: log softmax(logits / T) of every head on the public batch of `round`."""

    round: int  # in [0, 2^62)
    encoding: Encoding
    heads: int
    rows: int
    classes: int
    payload: bytes  # little-endian, one row after another; see `edgekd/protocol/encodings.py`


@dataclass(frozen=True, kw_only=True, slots=True)
class Ack:
    """The acknowledgement that the receiver's network thread has a frame of `SoftPredictions`.

    `round` is the newest round that the receiver has from the sender of the predictions.
    """

    round: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """A sign of life, sent to each neighbour every second. It also tells how far the sender's training is."""

    step: int  # the sender's own count of training steps
    steps: int  # number of steps that it will do; 0: training has no end
    round: int  # the newest one that the sender has published; -1: none. Up to 1.2 also one it had heard of
    done: bool  # it has done its steps, and may still teach
    accuracy: float | None = None  # at its last evaluation, in [0, 1]
    probe: bool = False  # the receiver must answer this heartbeat at once


class Parting(str, Enum):
    """The reason why a stream ends."""

    DONE = "done"  # the sender has done its steps
    LEAVING = "leaving"  # the sender stops early
    REFUSED = "refused"  # the sender refuses this stream; `detail` says why
    DUPLICATE = "duplicate"  # the two peers have another stream, which stays


@dataclass(frozen=True, kw_only=True, slots=True)
class Goodbye:
    """The last frame of a stream that ends on purpose."""

    parting: Parting
    detail: str = ""


class State(str, Enum):
    """What a peer is doing at the moment."""

    STARTING = "starting"  # the network runs, training has not begun
    WAITING = "waiting"  # it waits for neighbours before its first step
    TRAINING = "training"
    PAUSED = "paused"  # it was told to do no steps for a while; it stays connected
    LINGERING = "lingering"  # its steps are done, and it still teaches others
    DONE = "done"  # its steps are done and its network has stopped
    STOPPED = "stopped"  # it ended early, and its network has stopped

    def __str__(self) -> str:
        return str(self.value)


class Asked(str, Enum):
    """What a caller that is not a peer may ask for."""

    STATUS = "status"  # the peer's `Status`
    PUBLIC = "public"  # the group's public file, in `Piece`s; all else that a newcomer needs is in the Hello


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """The first frame, in place of a Hello, from a caller that is not a peer."""

    what: Asked


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbour:
    """One neighbour of a peer, in the peer's `Status`."""

    id: int
    address: str  # "HOST:PORT" where it listens; if that is unknown, the host from which it connects
    up: bool
    step: int
    age: int | None  # the peer's steps since the neighbour's last predictions arrived; None: none have arrived
    replaced: int  # predictions for it that were never sent, because newer ones took their place
    bytes_sent: int
    bytes_received: int
    disagreement: float | None = None  # how far its predictions are from the others', in [0, 1]; None: no lesson yet


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """The progress of a peer's training, in its `Status`.

    The defaults are for a peer that has not begun, or that is older than the field.
    """

    loss_labels: float | None = None  # at the last reported step; None: training has diverged, or no step was done
    loss_distil: float | None = None  # None: that step did not learn from neighbours
    lessons: int = 0  # steps that learned from neighbours, also those before a restart
    fresh_lessons: int = 0  # the lessons among them that held something new
    failing: tuple[str, ...] = ()  # files that could not be written at the last try, of `peer.node.recorder.FILES`
    evaluation_images: int | None = None  # number of images that the accuracy was measured on
    best: float | None = None  # the best accuracy so far, in [0, 1]
    seconds: float = 0.0  # seconds of training in this process; with the steps done in it they tell the time left
    lesson_age: int | None = None  # steps since the youngest predictions of the last lesson arrived; None: no lesson
    first_step: int | None = None  # the step at which this process began: 0, or the step from which it resumed


@dataclass(frozen=True, kw_only=True, slots=True)
class Status(Training):
    """The state of a peer, as it sees itself; counts begin at its start."""

    id: int
    state: str  # the value of a `State`; a newer peer may send a word that this version does not know
    step: int
    steps: int  # number of steps that it will do; 0: training has no end
    round: int  # the newest round that it has published; -1: none
    accuracy: float | None  # at its last evaluation, in [0, 1]
    bytes_sent: int  # of predictions, without the frames around them
    bytes_received: int
    refused: dict[str, int]  # reason -> number of refused frames and neighbours
    neighbours: tuple[Neighbour, ...]  # sorted by id


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A part of the public file."""

    data: bytes  # at most `PIECE` bytes
    last: bool  # the file ends here


Frame = Hello | SoftPredictions | Ack | Heartbeat | Goodbye | Ask | Status | Piece


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one step learns from: a round, and the predictions of its teachers.

    A round is a number that names a public batch. A teacher is a neighbour whose predictions are in the lesson.
    """

    round: int
    teachers: "dict[int, Tensor]"  # peer id -> probabilities [heads, rows, classes]; ids ascending
    fresh: bool = True  # whether it holds predictions that no earlier lesson held
    age: int = 0  # steps since the youngest of the predictions arrived
    trust: float = 1.0  # in (0, 1], the trust in its most trusted teacher; it multiplies the distillation loss
