"""Decoding of picture files into uint8 tensors."""

import errno
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from edgekd.data import fitting
from edgekd.data.decoding import IN_PROCESS, Decoding, fitted
from edgekd.data.fitting import Fitted
from edgekd.data.pictures import tell
from edgekd.errors import ConfigError

logger = logging.getLogger("edgekd")

IN_MEMORY = 2**30  # bytes; larger sets of images are stored in a memory-mapped temporary file
ALIKE = 4  # of 255; if values differ by at most this, pictures look alike


def fit(image: Image.Image, size: int) -> Tensor:
    """Resize and crop a picture as `fitting.fit` does, to a tensor, uint8 ``[3, size, size]``."""
    return torch.from_numpy(fitting.fit(image, size)).permute(2, 0, 1)


def decode_files(files: Sequence[Path], size: int, where: str, how: Decoding = IN_PROCESS) -> tuple[Tensor, list[int]]:
    """Decode and fit picture files. An unreadable file is left out with a warning.

    Args:
        files: the pictures.
        size: height and width of the images, in pixels.
        where: a name for the set of pictures, for messages.
        how: in which processes, and with which cache. It does not change the result.

    Returns:
        uint8 ``[n, 3, size, size]`` in the order of `files`, and the positions of these n pictures in `files`.

    Raises:
        ConfigError: no picture can be read, or there is no room for the temporary file.
    """
    images, read = decode_readable(files, size, where, how)
    if not read:
        raise none_readable(len(files), where)
    return images, read


def decode_readable(files: Sequence[Path], size: int, where: str, how: Decoding) -> tuple[Tensor, list[int]]:
    """The same as `decode_files`, but without an error if no picture can be read."""
    with closing(fitted(files, size, how)) as found:
        return gather(found, len(files), size, where)


def none_readable(count: int, where: str) -> ConfigError:
    """Make the error for the case that none of `count` pictures can be read."""
    return ConfigError(f"none of the {count} pictures of {where} can be read")


def gather(found: Iterable[tuple[int, Fitted]], count: int, size: int, where: str) -> tuple[Tensor, list[int]]:
    """Collect fitted pictures in one tensor; the result is that of `decode_readable`.

    Args:
        found: the position and the result of each picture, in any order.
        count: the number of pictures.
        size: height and width of the images, in pixels.
        where: a name for the set of pictures, for messages.
    """
    images, read = allocate(count, size), []
    pixels = images.permute(0, 2, 3, 1).numpy()  # a view of the same memory
    for place, each in found:
        tell(each.remarks)
        if each.pixels is None:
            logger.warning("cannot read %s: skipped", each.trouble)
        else:
            pixels[place] = each.pixels
            read.append(place)
    read.sort()
    if 0 < len(read) < count:
        logger.warning("%d of %d pictures of %s could not be read", count - len(read), count, where)
        for to, place in enumerate(read):  # in place, since the images may be in a file larger than the memory
            if to != place:
                images[to] = images[place]
    return images[: len(read)], read


def warn_if_alike(images: Tensor, indices: Sequence[int], name: str) -> None:
    """Warn if two or more images, chosen by `indices`, are all nearly equal: probably something went wrong."""
    if len(indices) < 2:
        return
    first = images[indices[0]].short()
    if all((images[i].short() - first).abs().max() <= ALIKE for i in indices[1:]):
        logger.warning("all %d pictures of %s are alike: look at some of them", len(indices), name)


def allocate(count: int, size: int) -> Tensor:
    """Make an uninitialised tensor for images, uint8 ``[count, 3, size, size]``.

    Above `IN_MEMORY` bytes, it is mapped to a temporary file without a name in $TMPDIR, else in /var/tmp. Unlike /tmp,
    that is seldom a RAM disk.

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
    """Reserve space on the disk for an open, empty file.

    Without this, the space would be taken while the mapped file is written, and a full disk would kill the process.

    Returns:
        False: there is no room.
    """
    try:
        os.posix_fallocate(file, 0, size)
    except AttributeError:  # macOS lacks it; there, other programs may take the space meanwhile
        return size <= shutil.disk_usage(file).free
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):  # this file system lacks it, too
            return size <= shutil.disk_usage(file).free
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        return False
    return True
