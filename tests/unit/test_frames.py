"""The longest frame: every frame that a peer may send fits into it."""

import pytest
import torch

from edgekd.protocol.codec import encode
from edgekd.protocol.encodings import Packing
from edgekd.protocol.frames import WITHOUT_PREDICTIONS, longest_frame
from edgekd.protocol.messages import MAX_ROUND, PIECE, Contract, Piece
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
