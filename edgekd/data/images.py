"""Pictures become uint8 tensors: decode, turn upright, resize the shorter side, crop the centre."""

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
IN_MEMORY = 2**30  # bytes; larger sets of images are kept in a memory-mapped temporary file


class UnreadableError(Exception):
    """A picture cannot be decoded; the message names it."""


def pictures_in(folder: Path) -> list[Path]:
    """The picture files directly in `folder`, known by their extensions, sorted by name, without hidden files."""
    files = (p for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS and not p.name.startswith("."))
    return sorted((p for p in files if p.is_file()), key=lambda p: p.name)


def open_picture(path: Path, size: int) -> Image.Image:
    """Decode a picture as RGB, turned upright by its EXIF tag; `fit` will resize it to `size` pixels.

    An alpha channel is dropped. A grey channel is repeated. 16-bit values are cut to 8 bits.

    Raises:
        UnreadableError: the file is not a picture, or is damaged.
    """
    try:
        with Image.open(path) as image:
            # Large photos are decoded at 1/2, 1/4 or 1/8, but not below twice the size. At 12 megapixels that is 4
            # times as fast.
            image.draft(None, (2 * size, 2 * size))
            ImageOps.exif_transpose(image, in_place=True)
            return _rgb(image)
    except Exception as error:  # Pillow's decoders raise many kinds of errors on damaged files
        raise UnreadableError(f"{path}: {error or type(error).__name__}") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip to white
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns if P with transparency is converted directly to RGB
    return image.convert("RGB")


def fit(image: Image.Image, size: int) -> Tensor:
    """Resize the shorter side to `size` (bilinear, antialiased) and crop the centre: uint8 ``[3, size, size]``."""
    pixels: Tensor = F.pil_to_tensor(F.center_crop(F.resize(image.convert("RGB"), [size]), [size]))
    return pixels


def decode_pictures(
    open_at: Callable[[int], Image.Image], indices: Iterable[int], size: int, where: str
) -> tuple[Tensor, list[int]]:
    """Decode the pictures with these indices. A warning names each unreadable picture, which is left out.

    This uses one thread. A pool of threads was not faster for small pictures (2 cores), and the peers of one box share
    its cores.

    Args:
        open_at: opens the picture with an index, or raises UnreadableError.
        indices: of the pictures.
        size: side of the images, pixels.
        where: a name for the pictures, for messages.

    Returns:
        uint8 ``[n, 3, size, size]``, and the positions in `indices` of these n pictures.

    Raises:
        ConfigError: no picture can be read, or there is no room for the temporary file.
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
    """An uninitialised tensor for images, uint8 ``[count, 3, size, size]``; beyond `IN_MEMORY` in an unlinked file.

    The file is in $TMPDIR, else in /var/tmp: unlike /tmp, it is seldom a RAM disk.

    Raises:
        ConfigError: there is no room for the file.
    """
    shape = (count, 3, size, size)
    if math.prod(shape) <= IN_MEMORY:
        return torch.empty(shape, dtype=torch.uint8)
    folder = os.environ.get("TMPDIR") or ("/var/tmp" if os.path.isdir("/var/tmp") else tempfile.gettempdir())
    if math.prod(shape) > shutil.disk_usage(folder).free:  # else a full disk would kill the process
        raise ConfigError(
            f"{count} images of {size} px need {math.prod(shape) / 2**30:.1f} GiB in {folder}, more than is free; "
            "set TMPDIR to a folder with room, or use --limit or a smaller --size"
        )
    with tempfile.NamedTemporaryFile(dir=folder, prefix="edgekd-") as file:
        return torch.from_file(file.name, shared=True, size=math.prod(shape), dtype=torch.uint8).view(shape)
