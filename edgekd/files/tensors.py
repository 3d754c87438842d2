"""Tensors as bytes: the one writer of safetensors files, the one way to open them, and the one SHA-256 of tensors.

The writer is our own for two reasons. The bytes of a file depend on its content alone; the library's writer promises no
fixed bytes. And the writer needs no second copy of the tensors in memory; a peer that has run out of memory has no room
for one.
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CHUNK = 2**24  # bytes of a piece
_ALIGNMENT = 8  # bytes
_DTYPES = {  # the names that safetensors uses
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def safetensors_pieces(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file, in pieces of at most `CHUNK` bytes after the header.

    Tensors of wide elements come first, so each tensor is aligned; tensors of equal width are sorted by name.

    Args:
        tensors: by name, on any device.
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
    yield struct.pack("<Q", len(text)) + text
    for name in names:
        data = _bytes_of(tensors[name])
        for start in range(0, len(data), CHUNK):
            yield data[start : start + CHUNK]


@contextmanager
def open_safetensors(path: Path) -> Iterator[Any]:
    """The file as the library's `safe_open`.

    The library opens a file twice by its name, and another one may have this name by then: so it is given the number
    of an open file, where there are such names. Nor does it take other names than UTF-8.

    Raises:
        OSError: the file cannot be read.
        SafetensorError: it is no such file, or is damaged.
    """
    from safetensors import safe_open

    with path.open("rb") as opened:
        number = Path(f"/dev/fd/{opened.fileno()}")
        with safe_open(number if number.exists() else path, framework="pt") as file:
            yield file


def tensors_sha256(tensors: Mapping[str, Tensor], about: bytes = b"") -> str:
    """The SHA-256 of names, types, shapes and values, in hexadecimal.

    Two mappings have the same digest if and only if they hold the same tensors; the order of the names has no effect.

    Args:
        tensors: by name, on any device.
        about: bytes that are hashed first, such as metadata.
    """
    digest = hashlib.sha256(about)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    """The values in index order. This copies only a tensor that is on another device or not contiguous."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
