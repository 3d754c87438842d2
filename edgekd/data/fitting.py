"""From a picture file to pixels of the size that a network takes: decoded, resized and cropped.

This module does not import torch. So a process that only does this starts in 0.3 seconds instead of 3, and takes 35 MB
instead of 500.
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

VERSION = 1  # raised whenever a picture may give other pixels than before; then older caches are made anew
EXTREME = 8  # if the longer side is more than this many times the shorter one, the picture is cropped before resizing
_DECODERS = ("jpg", "libjpeg_turbo", "jpg_2000", "libtiff", "webp", "avif")  # names in Pillow


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """The result of decoding one picture file. It can be sent between processes."""

    pixels: Pixels | None = None  # [S, S, 3]; None: the picture cannot be read
    trouble: str = ""  # the reason if it cannot be read; it names the picture
    remarks: tuple[str, ...] = ()  # warnings about a picture that was read


def fit(image: Image.Image, size: int) -> Pixels:
    """Resize the shorter side to `size` (bilinear, antialiased) and crop the centre: uint8 ``[size, size, 3]``.

    The pixels equal those of torchvision's ``resize`` and ``center_crop``, which need torch.
    """
    image = image if image.mode == "RGB" else image.convert("RGB")
    width, height = image.size
    short, long = sorted(image.size)
    if long > EXTREME * short:  # resizing a whole picture of 60,000 x 1 pixels would need gigabytes
        x, y = (width - short) / 2, (height - short) / 2
        image = image.resize((size, size), Image.Resampling.BILINEAR, (x, y, x + short, y + short))
    elif short != size:
        scaled = int(size * long / short)
        image = image.resize((size, scaled) if width <= height else (scaled, size), Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2) for side in image.size)
    return np.array(image.crop((left, top, left + size, top + size)))


def fit_file(path: Path, size: int) -> Fitted:
    """Decode and fit one picture file. If it cannot be read, the result says so; no error is raised."""
    try:
        image, remarks = decode(path, size)
    except UnreadableError as error:
        return Fitted(trouble=str(error))
    return Fitted(pixels=fit(image, size), remarks=remarks)


def fit_files(paths: Sequence[Path], size: int) -> list[Fitted]:
    """Call `fit_file` for each path; a task for a worker process."""
    return [fit_file(path, size) for path in paths]


def made_with() -> dict[str, Any]:
    """Everything besides the file and the size that determines the pixels: versions of libraries, and the machine."""
    libraries = {name: features.version(name) for name in _DECODERS}
    return {"version": VERSION, "pillow": PIL.__version__, "machine": platform.machine(), **libraries}
