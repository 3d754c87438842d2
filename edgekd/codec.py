"""Predictions to bytes and back; the layouts are in proto/edgekd/v1/peer.proto.

What is sent are log-probabilities, since a softmax's small values are what a student learns from and float16 would lose
them: there, a relative error of 2^-11 of ln p is one of at most 2^-11 |ln p| of p.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgekd.errors import RemoteProtocolError
from edgekd.messages import Contract, Encoding, SoftPredictions


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    dtype: str  # numpy's name; "<" is little-endian
    lowest: float  # stands for probability 0
    sum_tolerance: float  # by how much the probabilities of a row may miss 1


# Rounding moves a row's sum by at most 2^-11 (float16) of its entropy, hence 0.007 for a million classes.
_LAYOUTS = {
    Encoding.FLOAT32: _Layout(dtype="<f4", lowest=float(np.finfo(np.float32).min), sum_tolerance=1e-4),
    Encoding.FLOAT16: _Layout(dtype="<f2", lowest=float(np.finfo(np.float16).min), sum_tolerance=1e-2),
}


def payload_bytes(contract: Contract, encoding: Encoding) -> int:
    """Bytes of a payload under `contract`."""
    values = contract.heads * contract.public_batch * contract.classes
    return values * np.dtype(_LAYOUTS[encoding].dtype).itemsize


def encode(log_probs: Tensor, round: int, encoding: Encoding) -> SoftPredictions:
    """Pack predictions.

    Args:
        log_probs: natural log-probabilities, any float type ``[heads, rows, classes]``, in CPU memory; -inf is fine.
            NaN (a learner that has diverged) is packed as it is, and refused by whoever gets it.
        round: in [0, 2^62).
        encoding: how; values are clamped to what it holds.
    """
    layout = _LAYOUTS[encoding]
    heads, rows, classes = log_probs.shape
    clamped = log_probs.detach().float().clamp(min=layout.lowest, max=0.0)
    payload = clamped.numpy().astype(layout.dtype).tobytes()
    return SoftPredictions(round=round, encoding=encoding, heads=heads, rows=rows, classes=classes, payload=payload)


def decode(message: SoftPredictions, contract: Contract) -> Tensor:
    """Unpack what a peer sent, after checking it.

    Returns:
        probabilities, float32 ``[heads, rows, classes]``; every value is finite, every row sums to 1.

    Raises:
        RemoteProtocolError: with the reason "shape" (not the contract's), "length" (of the payload), "nan" (or
            infinite), "positive" (a log-probability above 0) or "sum" (a row does not sum to 1 within the encoding's
            tolerance: 1e-4 for float32, 1e-2 for float16).
    """
    layout = _LAYOUTS[message.encoding]
    _check_size(message, contract)
    packed = np.frombuffer(message.payload, dtype=layout.dtype)
    values = torch.from_numpy(packed.astype(np.float32)).view(message.heads, message.rows, message.classes)
    low, high = (float(bound) for bound in values.aminmax())  # both NaN if a value is
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RemoteProtocolError("nan", f"log-probabilities must be finite, got values from {low} to {high}")
    if high > layout.sum_tolerance:
        raise RemoteProtocolError("positive", f"log-probabilities must be <= 0, got {high:.6g}")
    probs = values.exp_()
    sums = probs.sum(dim=-1, keepdim=True)
    worst = float((sums - 1.0).abs().max())
    if worst > layout.sum_tolerance:
        raise RemoteProtocolError("sum", f"rows must sum to 1 within {layout.sum_tolerance}, one is off by {worst:.6g}")
    return probs.div_(sums)


def _check_size(message: SoftPredictions, contract: Contract) -> None:
    got = (message.heads, message.rows, message.classes)
    agreed = (contract.heads, contract.public_batch, contract.classes)
    if got != agreed:
        raise RemoteProtocolError("shape", f"[heads, rows, classes] must be {list(agreed)}, got {list(got)}")
    expected = payload_bytes(contract, message.encoding)
    if len(message.payload) != expected:
        raise RemoteProtocolError(
            "length", f"a {message.encoding.value} payload must be {expected} bytes, got {len(message.payload)}"
        )
