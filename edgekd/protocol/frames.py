"""How long a frame may be. A transport refuses longer ones, so this bounds the memory that a peer's frames take."""

from dataclasses import replace

from edgekd.protocol.encodings import Packing
from edgekd.protocol.members import MAX_NEIGHBOURS
from edgekd.protocol.messages import PIECE, Contract, Encoding, Status

WITHOUT_PREDICTIONS = PIECE + 32 * 1024  # bytes of the longest frame without a payload: a `Piece`, a `Status`

LONGEST_ADDRESS = 160  # bytes of a neighbour's address in a `Status`; its other fields take fewer


def payload_bytes(contract: Contract, packing: Packing) -> int:
    """Bytes of the payload of `SoftPredictions` under `contract`.

    Raises:
        ConfigError: there are more classes than the encoding can name.
    """
    return contract.heads * contract.public_batch * packing.row_bytes(contract.classes)


def longest_frame(contract: Contract) -> int:
    """Bytes of the longest frame in a group: the largest payload, and room for the other fields."""
    return payload_bytes(contract, Packing(Encoding.FLOAT32)) + WITHOUT_PREDICTIONS


def fitting(status: Status) -> Status:
    """The status as it fits a frame of `WITHOUT_PREDICTIONS` bytes, over any transport.

    A neighbour may announce a long address, and hundreds may be connected. Such an address is cut, and of more than
    `2 * MAX_NEIGHBOURS` neighbours those that are up are kept.
    """
    chosen = sorted(status.neighbours, key=lambda each: not each.up)[: 2 * MAX_NEIGHBOURS]
    cut = [replace(each, address=_cut(each.address)) for each in chosen]
    return replace(status, neighbours=tuple(sorted(cut, key=lambda each: each.id)))


def _cut(address: str) -> str:
    data = address.encode()
    return address if len(data) <= LONGEST_ADDRESS else data[: LONGEST_ADDRESS - 3].decode(errors="ignore") + "..."
