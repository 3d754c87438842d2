"""The longest frame: every frame that a peer may send fits into it."""

import pytest
import torch

from edgekd.protocol.codec import encode
from edgekd.protocol.encodings import Packing
from edgekd.protocol.frames import WITHOUT_PREDICTIONS, fitting, longest_frame
from edgekd.protocol.messages import MAX_ROUND, PIECE, Contract, Neighbour, Piece, Status
from peer.wire import messagepack, protobuf

CONTRACT = Contract(
    public_sha256="0" * 64, public_batch=32, classes=397, heads=2, temperature=1.0, augment="none", mode="async"
)
LOG_PROBS = torch.zeros(2, 32, 397).log_softmax(-1)


@pytest.mark.parametrize("wire", [protobuf, messagepack])
@pytest.mark.parametrize("encoding", ["float32", "float16", "uint8", "top-k:397", "one-bit"])
def test_predictions_of_every_encoding_fit_into_the_longest_frame(wire, encoding: str) -> None:
    message = encode(LOG_PROBS, MAX_ROUND - 1, Packing.parse(encoding))
    assert len(wire.to_bytes(message)) <= longest_frame(CONTRACT)


@pytest.mark.parametrize("wire", [protobuf, messagepack])
def test_piece_of_the_public_file_fits_into_a_frame_without_predictions(wire) -> None:
    assert len(wire.to_bytes(Piece(data=bytes(PIECE), last=False))) <= WITHOUT_PREDICTIONS <= longest_frame(CONTRACT)


MOST = 2**63 - 1  # of what the wire carries


def status(*neighbours: Neighbour, letter: str = "x") -> Status:
    return Status(
        id=MOST,
        state="x" * 64,
        step=MOST,
        steps=MOST,
        round=MAX_ROUND - 1,
        accuracy=0.1,
        bytes_sent=MOST,
        bytes_received=MOST,
        refused={f"{number:064}": MOST for number in range(64)},
        neighbours=neighbours,
        loss_labels=-1e300,
        loss_distil=0.1,
        lessons=MOST,
        fresh_lessons=MOST,
        failing=(letter * 64,) * 16,
        evaluation_images=MOST,
        best=0.1,
        seconds=1e300,
        lesson_age=MOST,
        first_step=MOST,
    )


def neighbour(id: int, address: str, *, up: bool = True) -> Neighbour:
    counts = {"step": MOST, "age": MOST, "replaced": MOST, "bytes_sent": MOST, "bytes_received": MOST}
    return Neighbour(id=id, address=address, up=up, disagreement=0.1, **counts)


@pytest.mark.parametrize("wire", [protobuf, messagepack])
@pytest.mark.parametrize("letter", ["a", "\u00e9", "\U0001d54f"])
def test_status_fits_its_frame_however_many_neighbours_and_long_addresses_there_are(wire, letter: str) -> None:
    said = fitting(status(*(neighbour(MOST - id, letter * 505 + ":65535") for id in range(300)), letter=letter))
    assert len(wire.to_bytes(said)) <= WITHOUT_PREDICTIONS
    assert wire.from_bytes(wire.to_bytes(said)) == said
    assert len(said.neighbours) == 128
    assert all(each.address.startswith(letter) for each in said.neighbours)


def test_status_keeps_neighbours_that_are_up_and_addresses_of_a_usual_length() -> None:
    long = "a" * 100 + ".example.org:65535"
    gone = [neighbour(id, long, up=False) for id in range(128)]
    there = [neighbour(id, long) for id in range(128, 200)]
    kept = fitting(status(*gone, *there)).neighbours
    assert list(kept) == [*gone[:56], *there]
