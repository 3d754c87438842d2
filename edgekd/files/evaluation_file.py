"""The file ``evaluation.json`` in a peer's folder: the counts of its last evaluation, class by class."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import ConfigError
from edgekd.files.atomic import write_atomically
from edgekd.learning.evaluation import Confusion
from edgekd.printable import LONGEST_WHY, printable

log = logging.getLogger("edgekd")

FILE = "evaluation.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """The counts of one evaluation."""

    id: int  # of the peer
    step: int
    classes: tuple[str, ...]
    private: tuple[int, ...]  # number of images of each class that the peer trains on
    confusion: Confusion

    def matrix(self) -> NDArray[np.int64]:
        """The number of images by true class (rows) and predicted class (columns), int64 ``[classes, classes]``."""
        return confusion_matrix(self.confusion, len(self.classes))

    def to_mapping(self) -> dict[str, Any]:
        """The content of the file, ready for JSON."""
        return {
            "id": self.id,
            "step": self.step,
            "evaluation_samples": sum(count for _, _, count in self.confusion),
            "classes": list(self.classes),
            "private": list(self.private),
            "confusion": [list(each) for each in self.confusion],
        }


def confusion_matrix(confusion: Confusion, classes: int) -> NDArray[np.int64]:
    """The number of images by true class (rows) and predicted class (columns), int64 ``[classes, classes]``."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    for label, predicted, count in confusion:
        matrix[label, predicted] = count
    return matrix


def recalls(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """The fraction of correct predictions for each class, ``[classes]`` in [0, 1]; NaN for classes without images."""
    images = matrix.sum(axis=1)
    found: NDArray[np.float64] = np.full(len(matrix), np.nan)
    np.divide(np.diag(matrix), images, out=found, where=images > 0)
    return found


def write_counted(folder: Path, counted: Counted) -> None:
    """Write the file atomically.

    Raises:
        OSError: it cannot be written.
    """
    write_atomically(folder / FILE, [(json.dumps(counted.to_mapping(), separators=(",", ":")) + "\n").encode()])


def load_counted(file: Path) -> Counted:
    """Read an ``evaluation.json``.

    Args:
        file: the file, or the folder that it lies in.

    Raises:
        ConfigError: there is no such file, or it is damaged.
    """
    file = file / FILE if file.is_dir() else file
    try:
        return _counted(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no {file}: a peer writes it at its first evaluation") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = printable(str(error), LONGEST_WHY)
        raise ConfigError(f"{file} does not hold the counts of an evaluation: {why}") from error


def read_counted(folder: Path) -> Counted | None:
    """Read the counts of the last evaluation of the peer in `folder`; None: there is no such file, or it is damaged.

    A damaged file causes a warning. The next evaluation writes the file again.
    """
    if not (folder / FILE).exists():
        return None
    try:
        return load_counted(folder)
    except ConfigError as error:
        log.warning("%s; done without", error)
        return None


def _counted(content: Mapping[str, Any]) -> Counted:
    classes, private = tuple(map(str, content["classes"])), tuple(map(int, content["private"]))
    confusion = tuple((int(label), int(predicted), int(count)) for label, predicted, count in content["confusion"])
    if len(private) != len(classes) or min(private, default=0) < 0:
        raise ValueError("it does not count the images of each class")
    if not all(0 <= label < len(classes) and 0 <= given < len(classes) and n > 0 for label, given, n in confusion):
        raise ValueError("it counts classes that it does not name")
    return Counted(
        id=int(content["id"]), step=int(content["step"]), classes=classes, private=private, confusion=confusion
    )
