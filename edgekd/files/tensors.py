"""Tensors as bytes: writing and opening safetensors files, and the SHA-256 of tensors.

edgekd has its own writer for two reasons. The bytes of a file depend only on its content, which the library's writer
does not promise. And the writer needs no second copy of the tensors in memory: a peer that has run out of memory has
no room for one.
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from edgekd.errors import ConfigError

CHUNK = 2**24  # bytes in one piece
_ALIGNMENT = 8  # bytes
_LENGTH = struct.Struct("<Q")  # length of the header, in the first bytes of a file
_DTYPES = {  # the names that safetensors uses
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def check_writable(entries: Mapping[str, Any]) -> None:
    """Check that a safetensors file can hold these entries.

    Args:
        entries: name -> anything, for example a state_dict.

    Raises:
        ConfigError: an entry is not a tensor, is not dense, or has a dtype that such files do not have.
    """
    for name, entry in entries.items():
        if not isinstance(entry, Tensor):
            what = f"no tensor but of type {type(entry).__name__}"
        elif entry.layout is not torch.strided:
            what = f"a tensor of layout {entry.layout}"
        elif entry.dtype not in _DTYPES:
            what = f"a tensor of {entry.dtype}"
        else:
            continue
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES)
        raise ConfigError(f"'{name}' is {what.replace('torch.', '')}, and a file holds only dense tensors of {known}")


def safetensors_pieces(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file: the header, then pieces of at most `CHUNK` bytes.

    Tensors with wide elements come first, so that each tensor is aligned; those of equal width are sorted by name.

    Args:
        tensors: name -> tensor on any device.
        metadata: the file's ``__metadata__``.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    yield _LENGTH.pack(len(text)) + text
    for name in names:
        data = _bytes_of(tensors[name])
        for start in range(0, len(data), CHUNK):
            yield data[start : start + CHUNK]


@contextmanager
def open_safetensors(path: Path) -> Iterator[Any]:
    """Open a file with the library's `safe_open`.

    The library opens a file twice by its name, and in between another file may get this name. So it is given the number
    of an open file (/dev/fd), where the system has these. This also allows names that are not UTF-8.

    Raises:
        OSError: the file cannot be read.
        SafetensorError: it is not a safetensors file, or is damaged.
    """
    from safetensors import safe_open

    with path.open("rb") as opened:
        number = Path(f"/dev/fd/{opened.fileno()}")
        with safe_open(number if number.exists() else path, framework="pt") as file:
            yield file


def read_header(file: BinaryIO) -> tuple[bytes, dict[str, Any]]:
    """Read the header of a safetensors file; afterwards `file` is at the first byte of the tensors.

    This is for files that others may change: `open_safetensors` maps the file into memory, where such changes appear.

    Returns:
        The bytes of the header, with its length before it, and its parsed content.

    Raises:
        ValueError: it is not a safetensors file, or is damaged.
    """
    first = file.read(_LENGTH.size)
    length = _LENGTH.unpack(first)[0] if len(first) == _LENGTH.size else 0
    if not 0 < length <= CHUNK:
        raise ValueError("it is no safetensors file")
    text = file.read(length)
    header = json.loads(text)
    if not isinstance(header, dict):
        raise ValueError("its header is no table")
    return first + text, header


def tensors_sha256(tensors: Mapping[str, Tensor], about: bytes = b"") -> str:
    """The SHA-256 of names, types, shapes and values of tensors, in hexadecimal digits.

    Two mappings have the same digest if and only if they hold the same tensors; the order of the names has no effect.

    Args:
        tensors: name -> tensor on any device.
        about: bytes that are hashed first, such as metadata.
    """
    digest = hashlib.sha256(about)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    """The values in index order. A copy is made only if the tensor is on another device or not contiguous."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
