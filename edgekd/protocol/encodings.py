"""The encodings of rows of log-probabilities. Their layouts are in proto/edgekd/v1/peer.proto.

Peers send log-probabilities, not probabilities: a student learns from the small values of a softmax, and float16 would
lose them. A relative error of 2^-11 in ln p is a relative error of at most 2^-11 |ln p| in p.

| encoding | bytes for a row of C classes | largest error of a probability |
| --- | --- | --- |
| float32 | 4 C | 2^-21 (1/e + ln C) |
| float16 | 2 C | 2^-11 (1/e + ln C) |
| uint8 | C | 0.016; probabilities below e^-15.9 become 0 |
| top-k | 4 k | for the k sent classes: as float16; for the others: 1 / (k + 1) |
| one-bit | 1, or 2 where C > 256 | (1 - 1 / C) / 2 |

A one-bit row names only the most probable class. The receiver gives that class the probability (1 + 1 / C) / 2, the
middle of the interval in which the largest probability can lie. The other classes share the rest equally. When the
receiver took such rows as certain (probability 1), balanced peers on CIFAR-10 agreed on one class within a few steps,
confirmed it to one another, and learned nothing else.

Each encoding has one class here. A new encoding is a member of `messages.Encoding`, a value of the same name in the
proto file, and a class with a line in `CODECS`. If one of these is missing, the import of edgekd fails.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from edgekd.errors import ConfigError, RemoteProtocolError
from edgekd.names import check_entries, with_nearest
from edgekd.protocol.messages import Encoding

Rows: TypeAlias = npt.NDArray[np.float32]  # [rows, classes]

UNIT = 1 / 16  # nats; the step width of uint8
ZERO = 255  # the uint8 code for probability 0
MAX_SPARSE_CLASSES = 2**16  # top-k and one-bit store the number of a class in a uint16


class Codec(ABC):
    """How rows of log-probabilities become bytes, and how these bytes become probabilities.

    `kept` is the number of classes that a row keeps, at least 1. Only top-k uses it.
    """

    sum_tolerance: ClassVar[float]  # how far the sum of an unpacked row may be from 1
    spelling: ClassVar[str]  # how ``--encoding`` names it

    @abstractmethod
    def row_bytes(self, classes: int, kept: int) -> int:
        """The number of bytes of one row, or a ConfigError if it cannot number so many classes."""

    @abstractmethod
    def pack(self, log_probs: Rows, kept: int) -> Any:
        """The array whose bytes are the payload."""

    @abstractmethod
    def unpack(self, payload: bytes, rows: int, classes: int) -> Rows:
        """The probabilities ``[rows, classes]``, finite and >= 0, or a RemoteProtocolError as `unpack` raises it."""


class _Floats(Codec):
    """One floating-point number for each class."""

    dtype: ClassVar["np.dtype[Any]"]

    def row_bytes(self, classes: int, kept: int) -> int:
        return classes * self.dtype.itemsize

    def pack(self, log_probs: Rows, kept: int) -> Any:
        return np.maximum(log_probs, np.finfo(self.dtype).min).astype(self.dtype)

    def unpack(self, payload: bytes, rows: int, classes: int) -> Rows:
        return _probabilities(_read(payload, self.dtype, rows, classes).astype(np.float32), self.sum_tolerance)


class Float32(_Floats):
    """Rounds ln p to binary32."""

    sum_tolerance, spelling, dtype = 1e-4, "float32", np.dtype("<f4")


class Float16(_Floats):
    """Rounds ln p to binary16. This changes the sum by at most 2^-11 of the row's entropy: 0.007 for 10^6 classes."""

    sum_tolerance, spelling, dtype = 1e-2, "float16", np.dtype("<f2")


class UInt8(Codec):
    """Rounds ln p to sixteenths. This changes the sum by at most e^(1/32) - 1."""

    sum_tolerance, spelling = 4e-2, "uint8"

    def row_bytes(self, classes: int, kept: int) -> int:
        return classes

    def pack(self, log_probs: Rows, kept: int) -> Any:
        steps = np.rint(np.nan_to_num(log_probs, nan=0.0, neginf=-ZERO) / -UNIT)  # NaN becomes probability 1
        return np.minimum(steps, ZERO).astype(np.uint8)

    def unpack(self, payload: bytes, rows: int, classes: int) -> Rows:
        found: Rows = _UINT8_PROBABILITIES[_read(payload, np.dtype(np.uint8), rows, classes)]
        return found


class TopK(Codec):
    """Names the most probable classes of a row, with ln p in binary16."""

    sum_tolerance, spelling = 1e-2, "top-k:K (K >= 1)"
    entry: ClassVar = np.dtype([("class", "<u2"), ("log_prob", "<f2")])

    def row_bytes(self, classes: int, kept: int) -> int:
        _check_sparse(Encoding.TOP_K, classes)
        return min(kept, classes) * self.entry.itemsize

    def pack(self, log_probs: Rows, kept: int) -> Any:
        kept = min(kept, log_probs.shape[-1])
        classes = np.argpartition(log_probs, -kept, axis=-1)[:, -kept:]
        entries = np.empty(classes.shape, self.entry)
        entries["class"] = classes
        entries["log_prob"] = np.maximum(np.take_along_axis(log_probs, classes, axis=-1), np.finfo(np.float16).min)
        return entries

    def unpack(self, payload: bytes, rows: int, classes: int) -> Rows:
        kept, odd = divmod(len(payload), rows * self.entry.itemsize)
        if odd or not 1 <= kept <= classes:
            raise RemoteProtocolError("length", f"{len(payload)} bytes are not {rows} rows of 1 to {classes} entries")
        entries = _read(payload, self.entry, rows, kept)
        probs = _probabilities(entries["log_prob"].astype(np.float32), self.sum_tolerance)
        return _placed(entries["class"].astype(np.intp), probs, classes)


class OneBit(Codec):
    """Names only the most probable class of a row."""

    sum_tolerance, spelling = 1e-4, "one-bit"

    def row_bytes(self, classes: int, kept: int) -> int:
        _check_sparse(Encoding.ONE_BIT, classes)
        return _index(classes).itemsize

    def pack(self, log_probs: Rows, kept: int) -> Any:
        return log_probs.argmax(axis=-1).astype(_index(log_probs.shape[-1]))

    def unpack(self, payload: bytes, rows: int, classes: int) -> Rows:
        named = _read(payload, _index(classes), rows, 1).astype(np.intp)
        return _placed(named, np.full(named.shape, (1 + 1 / classes) / 2, np.float32), classes)


CODECS: dict[Encoding, Codec] = {
    Encoding.FLOAT32: Float32(),
    Encoding.FLOAT16: Float16(),
    Encoding.UINT8: UInt8(),
    Encoding.TOP_K: TopK(),
    Encoding.ONE_BIT: OneBit(),
}
check_entries("encodings.CODECS", CODECS, Encoding)


@dataclass(frozen=True, slots=True)
class Packing:
    """How predictions are packed: the encoding and, for top-k, the number of classes kept in each row."""

    encoding: Encoding
    kept: int = MAX_SPARSE_CLASSES

    @classmethod
    def parse(cls, text: str) -> "Packing":
        """Parse the value of ``--encoding``: float32, float16, uint8, top-k:K or one-bit.

        Raises:
            ConfigError: `text` is none of these.
        """
        name, colon, kept = text.partition(":")
        if name == Encoding.TOP_K.value and kept.isascii() and kept.isdecimal() and 1 <= int(kept) <= 2**16:
            return cls(Encoding.TOP_K, int(kept))
        if not colon and name in {each.value for each in Encoding if each is not Encoding.TOP_K}:
            return cls(Encoding(name))
        why = f"encoding must be one of {', '.join(codec.spelling for codec in CODECS.values())}, got {text}"
        raise ConfigError(with_nearest(why, name, [each.value for each in Encoding]))

    def row_bytes(self, classes: int) -> int:
        """The number of bytes of one row.

        Raises:
            ConfigError: top-k or one-bit cannot number so many classes.
        """
        return CODECS[self.encoding].row_bytes(classes, self.kept)


def pack(log_probs: Rows, packing: Packing) -> bytes:
    """Pack rows of natural log-probabilities into the payload of a message.

    Args:
        log_probs: float32 ``[rows, classes]``, each <= 0 or NaN; -inf is allowed. Values are clamped to the range of
            the encoding. NaN means that a learner has diverged: the receiver refuses such rows, except with one-bit,
            which has no code for it.
        packing: how to pack them.
    """
    return bytes(CODECS[packing.encoding].pack(log_probs, packing.kept).tobytes())


def unpack(payload: bytes, encoding: Encoding, rows: int, classes: int) -> Rows:
    """Unpack a payload to probabilities ``[rows, classes]``, finite and >= 0. The caller checks the sums of the rows.

    Raises:
        RemoteProtocolError: with the reason "length" (the payload has a wrong length), "nan" (NaN or infinity),
            "positive" (a log-probability above 0) or "class" (a class does not exist, or a row names it twice).
    """
    return CODECS[encoding].unpack(payload, rows, classes)


def _check_sparse(encoding: Encoding, classes: int) -> None:
    if classes > MAX_SPARSE_CLASSES:
        raise ConfigError(f"{encoding.value} names at most {MAX_SPARSE_CLASSES} classes, got {classes}")


_UINT8_PROBABILITIES: Rows = np.exp(-UNIT * np.arange(256, dtype=np.float32))
_UINT8_PROBABILITIES[ZERO] = 0.0


def _index(classes: int) -> "np.dtype[Any]":
    """The integer type in which one-bit stores the number of a class."""
    return np.dtype(np.uint8) if classes <= 256 else np.dtype("<u2")


def _read(payload: bytes, dtype: "np.dtype[Any]", rows: int, columns: int) -> npt.NDArray[Any]:
    expected = rows * columns * dtype.itemsize
    if len(payload) != expected:
        raise RemoteProtocolError("length", f"a payload must be {expected} bytes, got {len(payload)}")
    return np.frombuffer(payload, dtype).reshape(rows, columns)


def _probabilities(log_probs: Rows, slack: float) -> Rows:
    low, high = float(log_probs.min()), float(log_probs.max())  # NaN if a value is NaN
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RemoteProtocolError("nan", f"log-probabilities must be finite, got values from {low} to {high}")
    if high > slack:
        raise RemoteProtocolError("positive", f"log-probabilities must be <= 0, got {high:.6g}")
    probs: Rows = np.exp(log_probs)
    return probs


def _placed(named: npt.NDArray[np.intp], probs: Rows, classes: int) -> Rows:
    """Build full rows: the named classes get `probs`, and the other classes share the rest to 1 equally."""
    if int(named.max()) >= classes:
        raise RemoteProtocolError("class", f"a class must be below {classes}, got {int(named.max())}")
    rows, kept = named.shape
    absent = np.ones((rows, classes), bool)
    np.put_along_axis(absent, named, False, axis=-1)
    if int(absent.sum(dtype=np.int64)) != rows * (classes - kept):
        raise RemoteProtocolError("class", "a row names a class twice")
    rest = np.maximum(1 - probs.sum(axis=-1, keepdims=True), 0) / max(classes - kept, 1)
    full: Rows = absent * rest
    np.put_along_axis(full, named, probs, axis=-1)
    return full
