"""Probabilities for pictures: decoded, fitted and normalised exactly as in training."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from edgekd.data.augment import normalise
from edgekd.data.images import fit
from edgekd.data.pictures import UnreadableError, open_picture
from edgekd.errors import ConfigError
from edgekd.extensions import Function, without_exit
from edgekd.learning.devices import choose_device
from edgekd.learning.evaluation import PIXELS
from edgekd.paths import expanded
from edgekd.use.trained import Trained, load_trained

Picture: TypeAlias = str | os.PathLike[str] | Image.Image | np.ndarray[Any, Any] | Tensor


class Predictor:
    """A trained network that classifies pictures; `load` makes one.

    >>> network = edgekd.load("box")
    >>> network.classes[:3], network.size
    (('0', '1', '2'), 32)
    >>> network.model(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])

    Args:
        trained: of a checkpoint.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        ConfigError: there is no such device here.
    """

    def __init__(self, trained: Trained, device: str = "auto") -> None:
        self._device = choose_device(device)
        self.trained = trained
        self.classes: tuple[str, ...] = trained.classes
        self.size: int = trained.size  # of the fitted images, pixels
        self.model: nn.Module = trained.network().to(self._device)  # from normalised images to logits [N, classes]
        self.batch: int = max(1, PIXELS // self.size**2)  # images that the network sees at once

    def predict(self, pictures: Picture | Iterable[Picture]) -> Tensor:
        """The probabilities of the classes, float32 ``[N, classes]`` on the CPU; each row sums to 1.

        Args:
            pictures: one or several of: the path of a picture file; a Pillow image; an array of pixels, uint8
                ``[height, width, 3]``, RGB, of any size; a tensor of pixels, uint8 ``[3, height, width]``. An array or
                tensor with one axis more is a batch.

        Raises:
            ConfigError: a file cannot be read, or an array has another shape or type.
        """
        rows, waiting = [torch.empty(0, len(self.classes))], []
        for picture in _each(pictures):
            waiting.append(self.fitted(picture))
            if len(waiting) == self.batch:
                rows.append(self.probabilities(torch.stack(waiting)))
                waiting = []
        if waiting:
            rows.append(self.probabilities(torch.stack(waiting)))
        return torch.cat(rows)

    def probabilities(self, images: Tensor) -> Tensor:
        """The softmax of the logits at temperature 1: float32 ``[N, classes]`` on the CPU.

        Args:
            images: fitted, uint8 ``[N, 3, S, S]``.
        """
        return self.logits(images).softmax(dim=-1)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """The logits of fitted images, uint8 ``[N, 3, S, S]``: float32 ``[N, classes]`` on the CPU."""
        with without_exit():
            found: Tensor = self.model(normalise(images.to(self._device)))
        return found.float().cpu()

    def fitted(self, picture: Picture) -> Tensor:
        """One picture as the network takes it, uint8 ``[3, S, S]``.

        Raises:
            ConfigError: the file cannot be read, or an array has another shape or type.
        """
        if isinstance(picture, (str, os.PathLike)):
            try:
                return self.read(expanded(os.fspath(picture)))
            except UnreadableError as error:
                raise ConfigError(f"cannot read {error}") from error
        return fit(picture if isinstance(picture, Image.Image) else _image(picture), self.size)

    def read(self, path: Path) -> Tensor:
        """A picture file as the network takes it, uint8 ``[3, S, S]``.

        Raises:
            UnreadableError: the file is not a picture, is damaged, or has too many pixels.
        """
        return fit(open_picture(path, self.size), self.size)


def load(
    checkpoint: str | os.PathLike[str],
    *,
    peer: int | None = None,
    which: str = "newest",
    model: Function | None = None,
    device: str = "auto",
) -> Predictor:
    """The trained network of a checkpoint, ready to classify pictures.

    >>> edgekd.load("box").predict(["photo.png"]).shape  # probabilities, one row for each picture
    torch.Size([1, 10])

    Args:
        checkpoint: the folder of a run or of a peer, or a checkpoint file.
        peer: the id of the peer; needed if a run's folder holds several.
        model: needed if the network is one of your own: "package.module:function", "FILE.py:function", a function that
            makes the network for a number of classes, or a ``torch.nn.Module``. Its code is run, which a checkpoint
            alone never causes.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        which: checkpoint of a folder: "newest"; or "best", which `edgekd peer --keep-best` keeps.

    Raises:
        ConfigError: there is no sound checkpoint, the best is not kept, the peer is not clear, there is no such device
            here, or the network is one of your own and `model` does not name it.
    """
    return Predictor(load_trained(expanded(os.fspath(checkpoint)), peer, which, model), device)


def _each(pictures: Picture | Iterable[Picture]) -> Iterable[Picture]:
    if isinstance(pictures, (str, os.PathLike, Image.Image)):
        return [pictures]
    if isinstance(pictures, (np.ndarray, Tensor)) and pictures.ndim != 4:
        return [pictures]  # `_image` refuses what has not three dimensions
    return pictures


def _image(pixels: Any) -> Image.Image:
    """The image of an array ``[height, width, 3]`` or a tensor ``[3, height, width]``."""
    wanted = "uint8 [3, height, width]" if isinstance(pixels, Tensor) else "uint8 [height, width, 3]"
    array = pixels.detach().cpu().numpy() if isinstance(pixels, Tensor) else np.asarray(pixels)
    shape: Sequence[int] = array.shape
    if isinstance(pixels, Tensor) and array.ndim == 3:
        array = array.transpose(1, 2, 0)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ConfigError(f"the pixels of a picture must be {wanted}, got {array.dtype} {list(shape)}")
    return Image.fromarray(np.ascontiguousarray(array))
