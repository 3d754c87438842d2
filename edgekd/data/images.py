"""Pictures to uint8 tensors: decode, turn upright, resize the shorter side, crop the centre."""

import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from edgekd.errors import ConfigError

logger = logging.getLogger("edgekd")

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
IN_MEMORY = 2**30  # bytes; more images than that live in a memory-mapped temporary file


class UnreadableError(Exception):
    """A picture that cannot be decoded; the message names it."""


def pictures_in(folder: Path) -> list[Path]:
    """The picture files directly in `folder`, by their extensions, sorted by name; hidden ones are left out."""
    files = (p for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS and not p.name.startswith("."))
    return sorted((p for p in files if p.is_file()), key=lambda p: p.name)


def open_picture(path: Path, size: int) -> Image.Image:
    """Decode a picture that will be fitted to `size` pixels: upright by its EXIF tag, RGB.

    Alpha is dropped, greyscale repeated, 16 bits cut to 8.

    Raises:
        UnreadableError: it is not a picture, or broken.
    """
    try:
        with Image.open(path) as image:
            # Big photos are decoded at 1/2, 1/4 or 1/8, never below twice the size: 4 times as fast at 12 megapixels.
            image.draft(None, (2 * size, 2 * size))
            ImageOps.exif_transpose(image, in_place=True)
            return _rgb(image)
    except Exception as error:  # on broken bytes Pillow's decoders raise nearly anything
        raise UnreadableError(f"{path}: {error or type(error).__name__}") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip to white
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB, Pillow warns
    return image.convert("RGB")


def fit(image: Image.Image, size: int) -> Tensor:
    """Resize the shorter side to `size` (bilinear, antialiased) and crop the centre: uint8 ``[3, size, size]``."""
    pixels: Tensor = F.pil_to_tensor(F.center_crop(F.resize(image.convert("RGB"), [size]), [size]))
    return pixels


def decode(
    open_at: Callable[[int], Image.Image], indices: Iterable[int], size: int, where: str
) -> tuple[Tensor, list[int]]:
    """Decode the pictures with these indices; unreadable ones are named in a warning, skipped and counted.

    One thread: a pool was no faster for small pictures (2 cores), and peers on one box share its cores.

    Args:
        open_at: gives a picture by its index, or raises UnreadableError.
        indices: which ones.
        size: pixels of each side.
        where: what the pictures are, for messages.

    Returns:
        uint8 ``[n, 3, size, size]``, and the places in `indices` of those n that could be read.

    Raises:
        ConfigError: none could be read, or the temporary file finds no room.
    """
    wanted = [int(i) for i in indices]
    images = allocate(len(wanted), size)
    read: list[int] = []
    for place, index in enumerate(wanted):
        try:
            images[len(read)] = fit(open_at(index), size)
        except UnreadableError as error:
            logger.warning("cannot read %s: skipped", error)
        else:
            read.append(place)
    if not read:
        raise ConfigError(f"none of the {len(wanted)} pictures of {where} can be read")
    if len(read) < len(wanted):
        logger.warning("%d of %d pictures of %s could not be read", len(wanted) - len(read), len(wanted), where)
    return images[: len(read)], read


def allocate(count: int, size: int) -> Tensor:
    """Room for images: uint8 ``[count, 3, size, size]``, in memory or, beyond `IN_MEMORY`, in an unlinked file.

    The file lies in $TMPDIR, else in /var/tmp, which unlike /tmp is seldom a RAM disk.

    Raises:
        ConfigError: the file finds no room.
    """
    shape = (count, 3, size, size)
    if math.prod(shape) <= IN_MEMORY:
        return torch.empty(shape, dtype=torch.uint8)
    folder = os.environ.get("TMPDIR") or ("/var/tmp" if os.path.isdir("/var/tmp") else tempfile.gettempdir())
    if math.prod(shape) > shutil.disk_usage(folder).free:  # writing to a mapped file on a full disk kills the process
        raise ConfigError(
            f"{count} images of {size} px need {math.prod(shape) / 2**30:.1f} GiB in {folder}, more than is free; "
            "set TMPDIR to a folder with room, or use --limit or a smaller --size"
        )
    with tempfile.NamedTemporaryFile(dir=folder, prefix="edgekd-") as file:
        return torch.from_file(file.name, shared=True, size=math.prod(shape), dtype=torch.uint8).view(shape)
