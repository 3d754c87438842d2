"""The public set: unlabelled images that all peers of a group hold, and the file that contains them.

The file is safetensors, with one tensor, ``images``, and one metadata key, ``edgekd``, with JSON. Its bytes depend only
on its content. So two peers have the same images if and only if their files have the same SHA-256.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.config import EACH, PUBLIC_AUGMENTATIONS
from edgekd.data.augment import check_augmentation, padding
from edgekd.data.decoding import IN_PROCESS, Decoding
from edgekd.data.images import allocate, decode_files, warn_if_alike
from edgekd.data.pictures import pictures_in
from edgekd.errors import ConfigError
from edgekd.files.atomic import write_atomically
from edgekd.files.tensors import CHUNK, read_header, safetensors_pieces
from edgekd.files.watching import Watch, unwatched
from edgekd.printable import LONGEST_WHY, printable

# The version of the file, not of the package, so that peers with different versions of the package agree.
FORMAT, VERSION = "edgekd-public", 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PublicSet:
    """Unlabelled images, the class names that a group predicts, and the augmentation of a public batch."""

    images: Tensor  # uint8 [N, 3, S, S]; read-only
    classes: tuple[str, ...]  # >= 2, in the order of the columns of predictions
    augment: str  # one of `edgekd.config.PUBLIC_AUGMENTATIONS`
    sha256: str  # of the file's bytes, 64 hexadecimal digits; also set if there is no file on disk

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, wanted: int) -> int:
        """The number of images in a public batch: `wanted`, or all images if there are fewer.

        Raises:
            ConfigError: the set has fewer than two images.
        """
        check_enough(len(self), 2)  # batch norm needs two
        return min(wanted, len(self))

    def batch(self, round: int, rows: int) -> Tensor:
        """The public batch of `round` >= 0, uint8 ``[rows, 3, S, S]``; it is the same on every peer.

        An epoch has ``N // rows`` rounds and uses no image twice. Keyed hashes determine the order of the images, and
        the crops and flips. There is one crop and flip for the whole batch, or one for each image if the name of the
        augmentation ends in ``-each``.

        Raises:
            ConfigError: the set has fewer than `rows` images.
        """
        images, kind = self.images[self.numbers(round, rows)], self.augment.removesuffix(EACH)
        if self.augment == kind:
            return _augmented(images, kind, _hash(self.sha256, "augment", round))
        return _each_augmented(images, kind, [_hash(self.sha256, "augment", round, row) for row in range(rows)])

    def numbers(self, round: int, rows: int) -> Tensor:
        """The indices of the images in the public batch of `round` >= 0, int64 ``[rows]``.

        Raises:
            ConfigError: the set has fewer than `rows` images.
        """
        check_enough(len(self), rows)
        epoch, place = divmod(round, len(self) // rows)
        return _order(self.sha256, epoch, len(self))[place * rows : (place + 1) * rows]

    def save(self, path: Path) -> None:
        """Write the file atomically.

        Raises:
            OSError: the file cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, self.pieces())

    def pieces(self) -> Iterator[bytes | memoryview]:
        """The bytes of the file, in pieces."""
        return _pieces(self.images, self.classes, self.augment)

    @classmethod
    def load(cls, path: Path, watch: Watch = unwatched) -> "PublicSet":
        """Read a file that `save` wrote.

        The images are copied into memory or, if they are large, into another file (see `allocate`), so the file itself
        may change later. `watch` is told how much was read.

        Raises:
            ConfigError: there is no such file, it is not a public file of this version, or there is no room for a copy.
        """
        try:
            with path.open("rb") as file:
                fields, shape, digest = _read_about(path, file)
                images = allocate(shape[0], shape[-1])
                with watch(math.prod(shape)) as advance:
                    _read_images(path, file, images, digest, advance)
            return cls(images=images, sha256=digest.hexdigest(), **fields)
        except OSError as error:
            raise ConfigError(f"cannot read the public file {path}: {error.strerror or error}") from error


def check_enough(images: int, rows: int) -> None:
    """Check that `images` public images are enough for a public batch of `rows` images.

    Raises:
        ConfigError: there are too few.
    """
    if images < rows:
        raise ConfigError(
            f"the public set has {images} images, fewer than a public batch of {rows}; use more public images"
        )


def make_public(images: Tensor, classes: Sequence[str], augment: str) -> PublicSet:
    """Make a public set in memory, with the SHA-256 that its file would have.

    Args:
        images: uint8 ``[N, 3, S, S]``.
        classes: two or more different names, printable and not empty.
        augment: one of `edgekd.config.PUBLIC_AUGMENTATIONS`.

    Raises:
        ConfigError: an argument breaks one of these rules.
    """
    about = {"format": FORMAT, "version": VERSION, "classes": list(classes), "augment": augment}
    fields = _checked(about, images.dtype, images.shape)
    digest = hashlib.sha256()
    for piece in _pieces(images, fields["classes"], augment):
        digest.update(piece)
    return PublicSet(images=images, sha256=digest.hexdigest(), **fields)


def public_from_pictures(
    paths: Iterable[Path], classes: Sequence[str], size: int, augment: str, how: Decoding = IN_PROCESS
) -> PublicSet:
    """Make a public set from picture files and folders of pictures, in this order; subfolders are not read.

    The way in which the files are decoded (`how`) does not change the set.

    Raises:
        ConfigError: a path is missing, a folder has no pictures, there are no pictures, or none can be read.
    """
    files = [file for path in paths for file in _pictures_at(path)]
    if not files:
        raise ConfigError("no public pictures: name picture files, or folders that hold some")
    images, _ = decode_files(files, size, "the public set", how)
    warn_if_alike(images, range(len(images)), "the public set")
    return make_public(images, classes, augment)


def _pictures_at(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ConfigError(f"there is no file or folder {path}")
    files = pictures_in(path)
    if not files:
        raise ConfigError(f"no pictures directly in {path}; name the folders that hold them")
    return files


def _pieces(images: Tensor, classes: Sequence[str], augment: str) -> Iterator[bytes | memoryview]:
    """The bytes of the public file, in pieces."""
    about = {"format": FORMAT, "version": VERSION, "classes": list(classes), "augment": augment}
    return safetensors_pieces({"images": images}, {"edgekd": json.dumps(about, sort_keys=True)})


def _read_about(path: Path, file: BufferedReader) -> tuple[dict[str, Any], list[int], "hashlib._Hash"]:
    """Read what comes before the images in a public file.

    Returns:
        The fields of a `PublicSet`, the shape of its images, and the SHA-256 of the bytes that were read.
    """
    try:
        text, header = read_header(file)
        about = json.loads(header.pop("__metadata__", {})["edgekd"])
        entry = header.pop("images")
        shape, dtype = entry["shape"], torch.uint8 if entry["dtype"] == "U8" else entry["dtype"]
        fields = _checked(about, dtype, shape)
        if header or entry["data_offsets"] != [0, math.prod(shape)]:
            raise ValueError("it holds more than images")
        left = os.fstat(file.fileno()).st_size - len(text)
        if left != math.prod(shape):
            raise ValueError(f"{left} bytes follow its header, and not {math.prod(shape)}")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, ConfigError) as error:
        raise _no_public_file(path, error) from error
    return fields, shape, hashlib.sha256(text)


def _read_images(
    path: Path, file: BufferedReader, images: Tensor, digest: "hashlib._Hash", advance: Callable[[int], None]
) -> None:
    """Fill `images` from the file. Exactly the bytes that were read are hashed, since the file may change meanwhile."""
    left = images.view(-1).numpy().data
    while left:
        count = file.readinto(left[:CHUNK])
        if not count:
            raise _no_public_file(path, ValueError("it has become shorter while it was read"))
        digest.update(left[:count])
        left = left[count:]
        advance(count)


def _no_public_file(path: Path, error: Exception) -> ConfigError:
    why = printable("has no key " + str(error) if isinstance(error, KeyError) else str(error), LONGEST_WHY)
    return ConfigError(
        f"{path} is not a public file of edgekd ({why}); make one with `edgekd public` or `edgekd split`"
    )


def _checked(about: dict[str, Any], dtype: object, shape: Sequence[int]) -> dict[str, Any]:
    """Check the metadata of a public file, and the dtype and shape of its images; returns fields of a `PublicSet`.

    Raises:
        ConfigError: they are invalid, or belong to another format or version.
    """
    if (about["format"], about["version"]) != (FORMAT, VERSION):
        raise ConfigError(f"format {about['format']} version {about['version']}, not {FORMAT} version {VERSION}")
    classes = tuple(about["classes"])
    if len(classes) < 2 or len(set(classes)) < len(classes) or not all(isinstance(c, str) and c for c in classes):
        raise ConfigError(f"classes must be two names or more, no two alike, got {', '.join(map(str, classes))}")
    if strange := [name for name in classes if not name.isprintable()]:  # it would appear in logs and on terminals
        raise ConfigError(f"class names must be printable, got {printable(strange[0])}")
    sound = dtype == torch.uint8 and len(shape) == 4 and all(type(side) is int and side > 0 for side in shape)
    if not sound or shape[1] != 3 or shape[2] != shape[3]:
        raise ConfigError(f"images must be uint8 [N, 3, S, S], N and S >= 1, got {dtype} {list(shape)}")
    return {"classes": classes, "augment": check_augmentation(about["augment"], PUBLIC_AUGMENTATIONS)}


def _hash(sha256: str, *names: int | str) -> bytes:
    text = "/".join(str(name) for name in names)
    return hashlib.blake2b(text.encode(), key=bytes.fromhex(sha256), digest_size=8).digest()


@lru_cache(maxsize=4)  # lessons from the last epoch may alternate with lessons from the present one
def _order(sha256: str, epoch: int, count: int) -> Tensor:
    """The order of the images in an epoch, int64 ``[count]``: sorted by their hashes."""
    return torch.tensor(sorted(range(count), key=lambda index: _hash(sha256, epoch, index)))


def _augmented(images: Tensor, augment: str, bits: bytes) -> Tensor:
    """Crop and flip the whole batch in the same way, determined by `bits`. An augmented batch is a new tensor."""
    if augment == "none":
        return images
    size = images.shape[-1]
    pad = padding(size)
    top, left, flip = _view(bits, pad)
    images = F.pad(images, [pad] * 4)[..., top : top + size, left : left + size]
    return images.flip(-1) if augment == "crop+flip" and flip else images.contiguous()


def _each_augmented(images: Tensor, augment: str, bits: Sequence[bytes]) -> Tensor:
    """Crop and flip each image in its own way, determined by its `bits`; returns ``[N, 3, S, S]``."""
    size = images.shape[-1]
    pad = padding(size)
    top, left, flip = torch.tensor([_view(each, pad) for each in bits])[:, :, None].unbind(1)  # each [N, 1]
    along = torch.arange(size)
    across = torch.where((flip == 1) & (augment == "crop+flip"), size - 1 - along, along)
    image = torch.arange(len(images))[:, None, None]
    padded = F.pad(images, [pad] * 4).permute(0, 2, 3, 1)  # [N, H, W, 3]
    return padded[image, (top + along)[:, :, None], (left + across)[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _view(bits: bytes, pad: int) -> tuple[int, int, int]:
    """The top and left of a crop, in [0, 2 pad], and whether to flip (0 or 1), from 8 random bytes."""
    top, left = (int.from_bytes(part, "big") % (2 * pad + 1) for part in (bits[:3], bits[3:6]))
    return top, left, bits[6] & 1
