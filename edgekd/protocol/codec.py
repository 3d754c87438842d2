"""Conversion between predictions as tensors and `SoftPredictions` messages.

The sender's tensor is `log_probs`. The receiver checks the message against the contract and gets `probs`.
"""

import numpy as np
import torch
from torch import Tensor

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.encodings import CODECS, Packing, pack, unpack
from edgekd.protocol.messages import Contract, SoftPredictions


def encode(log_probs: Tensor, round: int, packing: Packing) -> SoftPredictions:
    """Make the message that carries predictions.

    Args:
        log_probs: natural log-probabilities, any float type ``[heads, rows, classes]``, in CPU memory. -inf is allowed.
            NaN means that the learner has diverged; see `encodings.pack`.
        round: the round that they are about, in [0, 2^62).
        packing: how to encode them. Values are clamped to the range of the encoding.
    """
    heads, rows, classes = log_probs.shape
    flat = log_probs.detach().float().clamp(max=0.0).reshape(heads * rows, classes).numpy()
    return SoftPredictions(
        round=round,
        encoding=packing.encoding,
        heads=heads,
        rows=rows,
        classes=classes,
        payload=pack(flat, packing),
    )


def decode(message: SoftPredictions, contract: Contract) -> Tensor:
    """Check a message from another peer against the contract, and unpack its payload.

    Returns:
        probs: float32 ``[heads, rows, classes]``. Every value is finite, and every row sums to 1.

    Raises:
        RemoteProtocolError: with the reason "shape" (it differs from the contract), "sum" (a row does not sum to 1
            within the tolerance of the encoding), or a reason of `encodings.unpack`.
    """
    got = (message.heads, message.rows, message.classes)
    agreed = (contract.heads, contract.public_batch, contract.classes)
    if got != agreed:
        raise RemoteProtocolError("shape", f"[heads, rows, classes] must be {list(agreed)}, got {list(got)}")
    probs = unpack(message.payload, message.encoding, message.heads * message.rows, message.classes)
    sums = probs.sum(axis=-1, keepdims=True)
    worst, tolerance = float(np.abs(sums - 1).max()), CODECS[message.encoding].sum_tolerance
    if worst > tolerance:
        raise RemoteProtocolError("sum", f"rows must sum to 1 within {tolerance:g}, one is off by {worst:.6g}")
    return torch.from_numpy(probs / sums).view(got)
