"""A labelled data set that a program has set as an object. It is read once, and kept at the size of the network."""

import operator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from edgekd.config import ImageDataset
from edgekd.data.fitting import Pixels, fit
from edgekd.data.images import allocate
from edgekd.data.sources import Source
from edgekd.errors import ConfigError
from edgekd.extensions import spelt, without_exit
from edgekd.printable import typed_line

WANTED = (
    "a Pillow image, a tensor [3, height, width] or [1, height, width], uint8 or floats in [0, 1], or an array uint8 "
    "[height, width, 3] or [height, width]"
)

MOST_CLASSES = 100_000  # a larger label is no class, but perhaps the number of the image


def of_dataset(
    dataset: ImageDataset,
    size: int | None,
    classes: tuple[str, ...] | None = None,
    known_to: str = "the public file",
) -> Source:
    """Read all images of `dataset` into memory, uint8, 3 x `size` x `size` bytes each.

    Args:
        dataset: the images and their labels, of which there must be one or more.
        size: side of the images, pixels; None: the shorter side of the first image.
        classes: the class names of the group. If the data set names its classes, these may be some of `classes`, in
            any order. Otherwise its labels are indices of `classes`. None: use the classes of the data set.
        known_to: where `classes` come from, for error messages.

    Raises:
        ConfigError: the data set is empty, an item is not an image and a label, a label is out of range, or a class is
            not in `classes`.
    """
    name = spelt(dataset)
    count = len(dataset)
    if not count:
        raise ConfigError(f"{name} is empty: an image and a label are needed, and more are wanted")
    labels = np.empty(count, dtype=np.int64)
    images: Tensor | None = None
    for place in range(count):
        image, labels[place] = _item(dataset, place, name)
        size = size or min(image.size)
        images = allocate(count, size) if images is None else images
        images[place] = torch.from_numpy(fit(image, size)).permute(2, 0, 1)
    assert images is not None  # there was one
    assert size is not None
    own = _own_classes(dataset, int(labels.max()), name)
    if classes is not None and own is not None:
        if unknown := [each for each in own if each not in classes]:
            more = f"which {known_to} does not know; known: {', '.join(classes)}"
            raise ConfigError(f"{name} has the class {', '.join(unknown)}, {more}")
        labels = np.array([classes.index(each) for each in own], dtype=np.int64)[labels]
    names = classes or own or tuple(map(str, range(int(labels.max()) + 1)))
    if labels.max() >= len(names):
        raise ConfigError(f"{name} has the label {labels.max()}, and {known_to} knows {len(names)} classes")
    pixels: Pixels = images.permute(0, 2, 3, 1).numpy()
    return Source(classes=names, labels=labels, size=size, where=name, pixels=pixels)


def _item(dataset: ImageDataset, place: int, name: str) -> tuple[Image.Image, int]:
    """The image and the label with the index `place`."""
    try:
        with without_exit():
            image, label = dataset[place]
    except Exception as error:  # it is the user's code
        raise ConfigError(f"item {place} of {name} must be an image and its label: {typed_line(error)}") from error
    try:
        number = operator.index(label)
    except (TypeError, RuntimeError) as error:  # a tensor of several numbers, a fraction
        raise ConfigError(f"the label of item {place} of {name} must be a whole number, got {label!r}") from error
    if not 0 <= number < MOST_CLASSES:
        raise ConfigError(
            f"the label of item {place} of {name} must be the number of a class, from 0 to {MOST_CLASSES - 1}, "
            f"got {number}"
        )
    if isinstance(image, Image.Image):
        return image, number
    array = _pixels(image.detach().cpu() if isinstance(image, Tensor) else image)
    if array is None:
        shape = f"{image.dtype} {list(image.shape)}" if isinstance(image, Tensor | np.ndarray) else type(image).__name__
        raise ConfigError(
            f"the image of item {place} of {name} must be {WANTED}; got {shape}. Normalisation and augmentation are "
            "edgekd's own business: leave them out"
        )
    return Image.fromarray(array), number


def _pixels(image: Any) -> Pixels | None:
    """A tensor or an array as pixels, uint8 ``[height, width, 3]`` or ``[height, width]``; None: it is not an image."""
    if isinstance(image, Tensor):
        if image.is_floating_point() and bool(((image >= 0) & (image <= 1)).all()):  # NaN fails too
            image = (image * 255).round().to(torch.uint8)
        if image.ndim != 3 or image.shape[0] not in (1, 3):
            return None
        image = image.permute(1, 2, 0).numpy()
        image = image[..., 0] if image.shape[-1] == 1 else image
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or not image.size:
        return None
    return np.ascontiguousarray(image) if image.ndim == 2 or (image.ndim == 3 and image.shape[-1] == 3) else None


def _own_classes(dataset: ImageDataset, highest: int, name: str) -> tuple[str, ...] | None:
    """The class names of a data set, in its attribute `classes`, as in torchvision; None: it names no classes.

    Raises:
        ConfigError: `highest`, its highest label, has no name.
    """
    names = getattr(dataset, "classes", None)
    if not isinstance(names, list | tuple) or not all(isinstance(each, str) for each in names):
        return None
    if highest >= len(names):
        raise ConfigError(f"{name} has the label {highest}, and names {len(names)} classes")
    return tuple(names)
