"""Pictures become uint8 tensors: resize the shorter side, crop the centre."""

import errno
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from edgekd.data.pictures import UnreadableError
from edgekd.errors import ConfigError

logger = logging.getLogger("edgekd")

IN_MEMORY = 2**30  # bytes; larger sets of images are kept in a memory-mapped temporary file
EXTREME = 8  # a picture whose longer side is more than this many times its shorter one is cropped before it is resized
ALIKE = 4  # of 255; pictures whose values differ by no more look alike


def fit(image: Image.Image, size: int) -> Tensor:
    """Resize the shorter side to `size` (bilinear, antialiased) and crop the centre: uint8 ``[3, size, size]``."""
    image = image if image.mode == "RGB" else image.convert("RGB")
    short, long = sorted(image.size)
    if long > EXTREME * short:  # resized as a whole, a picture of 60,000 x 1 pixels would need gigabytes
        centre = [(side - short) / 2 for side in image.size]
        box = (centre[0], centre[1], centre[0] + short, centre[1] + short)
        image = image.resize((size, size), Image.Resampling.BILINEAR, box)
    pixels: Tensor = F.pil_to_tensor(F.center_crop(F.resize(image, [size]), [size]))
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


def warn_if_alike(images: Tensor, indices: Sequence[int], name: str) -> None:
    """Warn if two images or more have these indices and all nearly equal the first: something went wrong with them."""
    if len(indices) < 2:
        return
    first = images[indices[0]].short()
    if all((images[i].short() - first).abs().max() <= ALIKE for i in indices[1:]):
        logger.warning("all %d pictures of %s are alike: look at some of them", len(indices), name)


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
    why = "more than is free"
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix="edgekd-") as file:
            if _reserve(file.fileno(), math.prod(shape)):
                return torch.from_file(file.name, shared=True, size=math.prod(shape), dtype=torch.uint8).view(shape)
    except OSError as error:
        why = f"which cannot be written: {error.strerror or error}"
    raise ConfigError(
        f"{count} images of {size} px need {math.prod(shape) / 2**30:.1f} GiB in {folder}, {why}; "
        "set TMPDIR to a folder with room, or use --limit or a smaller --size"
    )


def _reserve(file: int, size: int) -> bool:
    """Give an open, empty file its room on the disk: where a mapped file gets it as it is written, a full disk kills.

    Returns:
        False: there is no room.
    """
    try:
        os.posix_fallocate(file, 0, size)
    except AttributeError:  # macOS has none: others may take the room meanwhile
        return size <= shutil.disk_usage(file).free
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):  # nor has this file system
            return size <= shutil.disk_usage(file).free
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        return False
    return True
