"""Limits for the length of frames.

A frame is one message on the wire. A transport refuses longer frames, so these limits bound the memory that the frames
of another peer can take.
"""

from dataclasses import replace

from edgekd.protocol.encodings import Packing
from edgekd.protocol.members import MAX_NEIGHBOURS
from edgekd.protocol.messages import PIECE, Contract, Encoding, Status

WITHOUT_PREDICTIONS = PIECE + 32 * 1024  # bytes of the longest frame without predictions: a `Piece` or a `Status`

LONGEST_ADDRESS = 160  # bytes of a neighbour's address in a `Status`; the other fields of a neighbour are shorter


def payload_bytes(contract: Contract, packing: Packing) -> int:
    """The number of bytes in the payload of `SoftPredictions` under `contract`.

    Raises:
        ConfigError: there are more classes than the encoding can number.
    """
    return contract.heads * contract.public_batch * packing.row_bytes(contract.classes)


def longest_frame(contract: Contract) -> int:
    """The number of bytes of the longest frame in a group: the largest payload, and room for the other fields."""
    return payload_bytes(contract, Packing(Encoding.FLOAT32)) + WITHOUT_PREDICTIONS


def fitting(status: Status) -> Status:
    """Shorten a status so that its frame has at most `WITHOUT_PREDICTIONS` bytes over any transport.

    Long addresses are cut, since a neighbour may announce an address of any length. Of more than `2 * MAX_NEIGHBOURS`
    neighbours, those that are up are kept first.
    """
    chosen = sorted(status.neighbours, key=lambda each: not each.up)[: 2 * MAX_NEIGHBOURS]
    cut = [replace(each, address=_cut(each.address)) for each in chosen]
    return replace(status, neighbours=tuple(sorted(cut, key=lambda each: each.id)))


def _cut(address: str) -> str:
    data = address.encode()
    return address if len(data) <= LONGEST_ADDRESS else data[: LONGEST_ADDRESS - 3].decode(errors="ignore") + "..."
