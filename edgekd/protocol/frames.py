"""How long a frame may be. A transport refuses longer ones, so this bounds the memory that a peer's frames take."""

from edgekd.protocol.encodings import Packing
from edgekd.protocol.messages import PIECE, Contract, Encoding

WITHOUT_PREDICTIONS = PIECE + 32 * 1024  # bytes of the longest frame without a payload: a `Piece`, a `Status`


def payload_bytes(contract: Contract, packing: Packing) -> int:
    """Bytes of the payload of `SoftPredictions` under `contract`.

    Raises:
        ConfigError: there are more classes than the encoding can name.
    """
    return contract.heads * contract.public_batch * packing.row_bytes(contract.classes)


def longest_frame(contract: Contract) -> int:
    """Bytes of the longest frame in a group: the largest payload, and room for the other fields."""
    return payload_bytes(contract, Packing(Encoding.FLOAT32)) + WITHOUT_PREDICTIONS
