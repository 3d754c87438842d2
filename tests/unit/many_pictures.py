"""Pictures of many kinds, sound and damaged, and what decoding them gives."""

import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from edgekd.data import pictures
from edgekd.data.decoding import Decoding
from edgekd.data.images import decode_files

SIZE = 16
NUMBER, SOUND = 16, 14  # of the pictures in a folder of `write_pictures`

Found = tuple[Tensor, list[int], list[str]]  # the pixels, the places, and what was said


def chunk(name: bytes, content: bytes, damage: int = 0) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content) ^ damage)


def wide_png(values: np.ndarray, kind: int) -> bytes:
    """A PNG of 16 bits a colour; `kind` 2: RGB, 4: grey and alpha, 6: RGBA."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def write_pictures(folder: Path) -> None:
    """`NUMBER` pictures. Two of them cannot be read, and of two there is something to be said."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(12):
        pixels = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((24 + number, 40 - number))
        image.save(folder / f"{number:02}.{('jpg', 'png', 'webp', 'gif')[number % 4]}")
    (folder / "03a.jpg").write_bytes(b"no picture")
    (folder / "10a.png").write_bytes((folder / "01.png").read_bytes()[:60])
    for name in ("05a.png", "09a.png"):
        (folder / name).write_bytes(wide_png(np.full((8, 8, 2), [0x0FFF, 0xFFFF]), 4))  # nearly black


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def decode(folder: Path, how: Decoding, caplog: pytest.LogCaptureFixture) -> Found:
    """All pictures of `folder`. What is said once in a process is said once each time."""
    pictures._told.cache_clear()
    caplog.clear()
    images, read = decode_files(files_in(folder), SIZE, "here", how)
    return images, read, sorted(each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING)


def decode_often(folder: Path, cache: Path, times: int) -> list[bytes]:
    """The pixels of all pictures, again and again: work for a process beside others."""
    how = Decoding(cache=cache)
    return [decode_files(files_in(folder), SIZE, "here", how)[0].numpy().tobytes() for _ in range(times)]


def assert_same(one: Found, other: Found) -> None:
    assert torch.equal(one[0], other[0])
    assert one[1:] == other[1:]
