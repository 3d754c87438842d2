"""Labelled data sets by their names. A source knows all labels before it decodes a picture."""

import os
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from edgekd.data.decoding import IN_PROCESS, Decoding
from edgekd.data.fitting import Fitted, fit
from edgekd.data.images import allocate, decode_readable, gather, logger, none_readable, warn_if_alike
from edgekd.data.pictures import is_of_system, pictures_in
from edgekd.data.splits import Indices
from edgekd.errors import ConfigError, TransientError
from edgekd.extensions import refuse_object
from edgekd.files.locks import locked
from edgekd.files.writable import missing_folders, remove_empty
from edgekd.paths import expanded

SIZES = {"digits": 32, "cifar10": 32, "sun397": 224, "folder": 64}  # default height and width of the images, in pixels


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Labelled:
    """Images and their labels."""

    images: Tensor  # uint8 [N, 3, S, S]
    labels: Tensor  # int64 [N], in [0, classes)
    files: tuple[Path, ...] = ()  # the picture files, in the same order; empty if the images are not from files


def merged(images: Labelled, added: Labelled, places: Sequence[int], dropped: Set[Path] = frozenset()) -> Labelled:
    """Remove `dropped` files from `images`, and add those of `added` at the positions `places`.

    The result is sorted by class and name, as a folder is read. If nothing changes, or nothing would be left, `images`
    itself is returned.
    """
    rows = [row for row in _rows(images) if row[1] not in dropped]
    if not places and len(rows) in (0, len(images.files)):
        return images
    more = _rows(added)
    rows = sorted([*rows, *(more[place] for place in places)], key=lambda row: (row[0], row[1].name))
    pixels = allocate(len(rows), images.images.shape[-1])
    for place, row in enumerate(rows):
        pixels[place] = row[2]
    labels = torch.tensor([row[0] for row in rows], dtype=torch.int64)
    return Labelled(images=pixels, labels=labels, files=tuple(row[1] for row in rows))


def _rows(images: Labelled) -> list[tuple[int, Path, Tensor]]:
    """Label, file and pixels of each image."""
    return list(zip(images.labels.tolist(), images.files, images.images, strict=True))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Source:
    """A labelled data set. Its pictures are decoded on demand."""

    classes: tuple[str, ...]
    labels: Indices  # int64 [N], in [0, classes)
    size: int  # height and width of the images that `load` returns, in pixels
    where: str  # a name for the data set, for messages
    pixels: Any = ()  # uint8 [N, H, W] or [N, H, W, 3], if the pictures are not from files
    files: tuple[Path, ...] = ()  # the picture files; empty if the pictures are not from files
    decoding: Decoding = IN_PROCESS  # how the files are decoded

    def load(self, indices: Sequence[int] | Indices) -> Labelled:
        """Decode the pictures with these indices. An unreadable picture is left out with a warning.

        Raises:
            ConfigError: no picture can be read.
        """
        images = self.read(indices)
        if not len(images.labels):
            raise none_readable(len(indices), self.where)
        self.warn_of_alike(images)
        return images

    def read(self, indices: Sequence[int] | Indices) -> Labelled:
        """The same as `load`, without an error if no picture can be read, and without `warn_of_alike`."""
        chosen = np.asarray(indices, dtype=np.int64)
        if self.files:
            files = [self.files[index] for index in chosen]
            images, read = decode_readable(files, self.size, self.where, self.decoding)
        else:
            arrays = (Fitted(pixels=fit(Image.fromarray(self.pixels[index]), self.size)) for index in chosen)
            images, read = gather(enumerate(arrays), len(chosen), self.size, self.where)
        found = chosen[read]
        names = tuple(self.files[index] for index in found) if self.files else ()
        return Labelled(images=images, labels=torch.from_numpy(self.labels[found]), files=names)

    def warn_of_alike(self, images: Labelled) -> None:
        """Warn of each class whose pictures are all nearly equal."""
        for label in images.labels.unique().tolist():
            places = (images.labels == label).nonzero().flatten().tolist()
            warn_if_alike(images.images, places, f"class {self.classes[label]} of {self.where}")


def open_source(data: str, size: int | None = None, how: Decoding = IN_PROCESS) -> Source:
    """Open the data set of ``--data``: digits, cifar10, sun397 or folder:PATH.

    A data set of torchvision is downloaded into $EDGEKD_DATA (default: ~/.cache/edgekd) if it is not there.

    Args:
        data: the name.
        size: height and width of the images, in pixels; None: the default of the data set.
        how: how picture files are decoded.

    Raises:
        ConfigError: there is no such data set or folder, or it is empty.
        TransientError: the download has failed.
    """
    refuse_object(data, "data")
    kind, _, path = data.partition(":")
    size = size or SIZES.get(kind)
    if kind == "folder" and path and size:
        return replace(folder(expanded(path), size), decoding=how)
    if data not in _OPENERS or not size:
        raise ConfigError(f"data must be {', '.join(_OPENERS)} or folder:PATH, got {data}")
    return replace(_OPENERS[data](size), decoding=how)


def folder(
    path: Path,
    size: int,
    classes: tuple[str, ...] | None = None,
    known_to: str = "the public file",
    *,
    strict: bool = True,
) -> Source:
    """Open a data set of picture files, with one subfolder for each class.

    Args:
        path: the folder with the subfolders. Pictures in deeper folders are not read.
        size: height and width of the images, in pixels.
        classes: the class names; label i is the i-th name. Subfolders may be missing. Default: the sorted names of the
            subfolders with pictures.
        known_to: where `classes` come from, for a message.
        strict: True: a subfolder with pictures whose name is not in `classes` is an error. False: it is a warning.

    Raises:
        ConfigError: there is no such folder, it has no pictures, or it has such a subfolder.
    """
    if not path.is_dir():
        raise ConfigError(f"there is no folder {path}")
    entries = sorted((p for p in path.iterdir() if not is_of_system(p)), key=lambda p: p.name)
    files = {p.name: pictures_in(p) for p in entries if p.is_dir()}
    full = [name for name in files if files[name]]
    unknown = [name for name in full if classes is not None and name not in classes]
    if classes is not None and unknown:
        why = unknown_class(path, unknown, classes, known_to)
        if strict:
            raise ConfigError(why)
        logger.warning("%s: left out", why)
    if len(full) == len(unknown):
        raise ConfigError(f"no pictures in {path}/CLASS/: give a folder that holds one subfolder of pictures a class")
    if loose := len(entries) - len(files):
        logger.warning("%s: left out %d file(s) outside of the classes' subfolders", path, loose)
    if empty := [name for name in files if not files[name]]:
        logger.warning("no pictures directly in %s of %s: passed over", ", ".join(empty), path)
    names = classes or tuple(full)
    return _from_files(
        names, [(label, file) for label, name in enumerate(names) for file in files.get(name, [])], size, str(path)
    )


def unknown_class(root: Path, names: Sequence[str], classes: Sequence[str], known_to: str = "the public file") -> str:
    """The message about subfolders of `root` that are not known classes."""
    return f"{root} has a subfolder {', '.join(names)}, which {known_to} does not know; known: {', '.join(classes)}"


def _digits(size: int) -> Source:
    rows = np.loadtxt(_digits_file(), delimiter=",", dtype=np.int64)  # [N, 65]: 8 x 8 pixels from 0 to 16, a label
    pixels = (rows[:, :-1].reshape(-1, 8, 8) * 255 + 8) // 16  # from 0..16 to 0..255
    return _from_arrays(tuple("0123456789"), rows[:, -1], pixels.astype(np.uint8), size, "digits")


def _digits_file() -> Path:
    """The file of the digits in scikit-learn, found without importing scikit-learn, which would take 70 MB."""
    spec = find_spec("sklearn")
    assert spec is not None  # it is a dependency
    assert spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _cifar10(size: int) -> Source:
    from torchvision.datasets import CIFAR10

    def load(root: Path) -> list[CIFAR10]:
        return [CIFAR10(root, train=train, download=True) for train in (True, False)]

    halves = _torchvision("cifar10", load)
    labels = np.concatenate([half.targets for half in halves])
    pixels = np.concatenate([half.data for half in halves])
    return _from_arrays(tuple(halves[0].classes), labels, pixels, size, "cifar10")


def _sun397(size: int) -> Source:
    from torchvision.datasets import SUN397

    scenes = _torchvision("sun397", lambda root: SUN397(root, download=True))
    # Some names are paths, such as "apartment_building/outdoor". The files come in the order of the disk: sort them.
    classes = tuple(name.replace("/", "-") for name in scenes.classes)
    files = sorted(zip(scenes._labels, scenes._image_files, strict=True))
    if not files:
        raise ConfigError(f"no pictures in {data_root() / 'SUN397'}; put the files of sun397 there, or use folder:PATH")
    return _from_files(classes, files, size, "sun397")


_OPENERS: dict[str, Callable[[int], Source]] = {"digits": _digits, "cifar10": _cifar10, "sun397": _sun397}


def data_root() -> Path:
    """The folder of torchvision's data sets: $EDGEKD_DATA, or ~/.cache/edgekd by default."""
    return expanded(os.environ.get("EDGEKD_DATA") or "~/.cache/edgekd")


def _torchvision(name: str, make: Callable[[Path], Any]) -> Any:
    root = data_root()
    made = missing_folders(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / f".{name}.lock", wait=True):  # peers on one box must not download into the same file at once
            return make(root)
    except (OSError, RuntimeError) as error:  # torchvision raises RuntimeError for a wrong checksum
        raise TransientError(
            f"cannot get {name}: {error}; put its files into {root} as torchvision lays them out, "
            "set EDGEKD_DATA to where they are, or use --data folder:PATH"
        ) from error
    finally:
        remove_empty(made)


def _from_arrays(classes: tuple[str, ...], labels: Any, pixels: Any, size: int, where: str) -> Source:
    return Source(
        classes=classes,
        labels=np.asarray(labels, dtype=np.int64),
        size=size,
        where=where,
        pixels=pixels,
    )


def _from_files(classes: tuple[str, ...], files: Sequence[tuple[int, Path]], size: int, where: str) -> Source:
    return Source(
        classes=classes,
        labels=np.array([label for label, _ in files], dtype=np.int64),
        size=size,
        where=where,
        files=tuple(file for _, file in files),
    )
