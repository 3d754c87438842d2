"""A picture file to pixels of the size that a network takes: decoded, resized, cropped.

This module does not import torch: a process that does nothing but this starts in a third of a second, not in three,
and takes 35 MB, not 500.
"""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, features

from edgekd.data.pictures import UnreadableError, decode

Pixels: TypeAlias = NDArray[np.uint8]

VERSION = 1  # raised whenever a picture may give other pixels than before: caches that are older are made anew
EXTREME = 8  # a picture whose longer side is more than this many times its shorter one is cropped before it is resized
_DECODERS = ("jpg", "libjpeg_turbo", "jpg_2000", "libtiff", "webp", "avif")  # as Pillow calls them


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """What a picture file gave. It can be sent from one process to another."""

    pixels: Pixels | None = None  # [S, S, 3]; None: the picture cannot be read
    trouble: str = ""  # why not; it names the picture
    remarks: tuple[str, ...] = ()  # what is to be said of a picture that was read


def fit(image: Image.Image, size: int) -> Pixels:
    """Resize the shorter side to `size` (bilinear, antialiased) and crop the centre: ``[size, size, 3]``.

    The pixels are those of torchvision's ``resize`` and ``center_crop``, which need torch.
    """
    image = image if image.mode == "RGB" else image.convert("RGB")
    width, height = image.size
    short, long = sorted(image.size)
    if long > EXTREME * short:  # resized as a whole, a picture of 60,000 x 1 pixels would need gigabytes
        x, y = (width - short) / 2, (height - short) / 2
        image = image.resize((size, size), Image.Resampling.BILINEAR, (x, y, x + short, y + short))
    elif short != size:
        scaled = int(size * long / short)
        image = image.resize((size, scaled) if width <= height else (scaled, size), Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2) for side in image.size)
    return np.array(image.crop((left, top, left + size, top + size)))


def fit_file(path: Path, size: int) -> Fitted:
    """Decode and fit one picture file. It raises nothing for a file that cannot be read."""
    try:
        image, remarks = decode(path, size)
    except UnreadableError as error:
        return Fitted(trouble=str(error))
    return Fitted(pixels=fit(image, size), remarks=remarks)


def fit_files(paths: Sequence[Path], size: int) -> list[Fitted]:
    """`fit_file` of each; a task for another process."""
    return [fit_file(path, size) for path in paths]


def made_with() -> dict[str, Any]:
    """All that decides which pixels a file gives, apart from the file and the size."""
    libraries = {name: features.version(name) for name in _DECODERS}
    return {"version": VERSION, "pillow": PIL.__version__, "machine": platform.machine(), **libraries}
