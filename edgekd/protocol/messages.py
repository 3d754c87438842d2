"""What peers say to one another, as plain data; `peer/wire/protobuf.py` makes bytes of it."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MAJOR, MINOR = 1, 5  # of the protocol: another major is refused, another minor is not
MAX_ROUND = 2**62  # rounds are below this
PIECE = 32 * 1024  # bytes: with the rest of a frame less than what every transport carries


class Encoding(str, Enum):
    """How the payload of `SoftPredictions` is packed; the names are those of ``--encoding``."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    UINT8 = "uint8"
    TOP_K = "top-k"
    ONE_BIT = "one-bit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """What the peers of a group must agree on before they exchange predictions."""

    public_sha256: str  # of the public file, 64 hexadecimal digits; the file holds the class names too
    public_batch: int  # images in a public batch, >= 1
    classes: int  # >= 2
    heads: int  # >= 1; rows of every head are sent
    temperature: float  # > 0; the predictions are softmax(logits / temperature)
    augment: str  # augmentation of the public batch: "none", "crop" or "crop+flip"
    mode: str  # "async", "sync/N" with N = broadcast_every, or with two phases "sync/N/STEPS", STEPS of the first one

    def digest(self) -> str:
        """SHA-256 of the contract, in hexadecimal."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def differences(self, other: "Contract") -> dict[str, str]:
        """For each field that differs a line with both values, e.g. ``temperature: 1.0 here, 2.0 there``."""
        pairs = [(f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]
        return {name: f"{name}: {here} here, {there} there" for name, here, there in pairs if here != there}


@dataclass(frozen=True, kw_only=True, slots=True)
class Hello:
    """The first frame each way."""

    major: int
    minor: int
    id: int  # of the peer, >= 0
    instance: int  # one start of the process: random, in [1, 2^63)
    contract: Contract
    encodings: tuple[Encoding, ...]  # that the sender can read, best first
    newest_round: int  # that the sender itself has published; -1: none. Up to 1.2: or had heard of
    address: str  # where the sender listens, "" if nowhere
    common_data: str = ""  # "data digits, size 32, ..."; "": the sender has pictures of its own, or is older than 1.4


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftPredictions:
    """log softmax(logits / T) of every head on the public batch of `round`, packed."""

    round: int  # in [0, 2^62)
    encoding: Encoding
    heads: int
    rows: int
    classes: int
    payload: bytes  # little-endian, row after row; see `edgekd/protocol/encodings.py`


@dataclass(frozen=True, kw_only=True, slots=True)
class Ack:
    """The receiver's network thread has `SoftPredictions`; `round` is the newest it has from that sender."""

    round: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """Sent each second: the sender is alive, and how far it is."""

    step: int  # the sender's own count of training steps
    steps: int  # that it will do; 0: without end
    round: int  # the newest that the sender itself has published; -1: none. Up to 1.2: or had heard of
    done: bool  # it has done its steps and lingers
    accuracy: float | None = None  # of its last evaluation, in [0, 1]
    probe: bool = False  # the receiver answers this one at once


class Parting(str, Enum):
    """Why a stream ends."""

    DONE = "done"  # the sender has done its steps
    LEAVING = "leaving"  # the sender stops early
    REFUSED = "refused"  # the sender does not want this stream: `detail` says why
    DUPLICATE = "duplicate"  # the pair has another stream, which stays


@dataclass(frozen=True, kw_only=True, slots=True)
class Goodbye:
    """The last frame of a stream that ends on purpose."""

    parting: Parting
    detail: str = ""


class State(str, Enum):
    """What a peer is doing."""

    STARTING = "starting"  # the network is up, the training has not begun
    WAITING = "waiting"  # for neighbours, before the first step
    TRAINING = "training"
    PAUSED = "paused"  # it was told to take no step for a while; it stays a member
    LINGERING = "lingering"  # its steps are done, it still teaches others
    DONE = "done"  # its steps are done, the network is stopped
    STOPPED = "stopped"  # it ended early, the network is stopped

    def __str__(self) -> str:
        return str(self.value)


class Asked(str, Enum):
    """What a caller that is not a peer may ask for."""

    STATUS = "status"  # how the peer is: a `Status`
    PUBLIC = "public"  # the group's public file, in `Piece`s; the rest of what a newcomer needs is in the Hello


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """The first frame, in the place of a Hello, of one who dials but is no peer."""

    what: Asked


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbour:
    """A neighbour as a peer sees it, in its `Status`."""

    id: int
    address: str  # where it listens, else where it speaks from
    up: bool
    step: int
    age: int | None  # steps of the peer since the neighbour's last predictions arrived; None: none did
    replaced: int  # predictions for it that a newer one took the place of
    bytes_sent: int
    bytes_received: int
    disagreement: float | None = None  # of its predictions with the rest's, of late, in [0, 1]; None: none learned from


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How a peer's training goes, in its `Status`; the defaults are those of a peer that has not begun, or is older."""

    loss_labels: float | None = None  # of the last reported step; None: it has diverged, or no step was done
    loss_distil: float | None = None  # None: that step learned from no neighbour
    lessons: int = 0  # steps that learned from neighbours, those before a restart included
    fresh_lessons: int = 0  # of these, those with something not learned from before
    failing: tuple[str, ...] = ()  # what could not be written when last tried, of `peer.node.recorder.FILES`
    evaluation_images: int | None = None  # that the accuracy was measured on
    best: float | None = None  # the best accuracy so far, in [0, 1]
    seconds: float = 0.0  # of training, in this process; with the steps done in it that tells how long the rest takes
    lesson_age: int | None = None  # steps since the youngest of what it learns from arrived; None: no lesson
    first_step: int | None = None  # the step at which this process began: 0, or where it resumed


@dataclass(frozen=True, kw_only=True, slots=True)
class Status(Training):
    """A peer as it sees itself; counts are since it was started."""

    id: int
    state: str  # the value of a `State`; of a newer peer perhaps a word that this version does not know
    step: int
    steps: int  # 0: without end
    round: int  # the newest it has published; -1: none
    accuracy: float | None  # of its last evaluation, in [0, 1]
    bytes_sent: int  # payload of predictions
    bytes_received: int
    refused: dict[str, int]  # frames and neighbours, by reason
    neighbours: tuple[Neighbour, ...]  # by id


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A part of the public file."""

    data: bytes  # at most `PIECE` bytes
    last: bool  # the file ends here


Frame = Hello | SoftPredictions | Ack | Heartbeat | Goodbye | Ask | Status | Piece


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one step learns from: a round and its teachers' predictions."""

    round: int
    teachers: "dict[int, Tensor]"  # peer id -> probabilities [heads, rows, classes]; ids ascending
    fresh: bool = True  # holds predictions that were not learned from before
    age: int = 0  # steps since the youngest of them arrived
    trust: float = 1.0  # in (0, 1]: that of its most trusted teacher; multiplies the distillation loss
