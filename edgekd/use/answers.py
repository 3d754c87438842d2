"""What a network says of picture files: an answer each, in their order, whether or not the file can be read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgekd.data.pictures import UnreadableError
from edgekd.use.predictor import Predictor

DIGITS = 6  # of a probability in JSON and CSV, after the point


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What one picture shows."""

    file: str  # the path as it was given or found
    classes: tuple[tuple[str, float], ...] = ()  # names and probabilities, likeliest first
    error: str | None = None  # why the file cannot be read

    def to_mapping(self) -> dict[str, Any]:
        """For JSON: ``file``, and either ``classes`` or ``error``."""
        if self.error is not None:
            return {"file": self.file, "error": self.error}
        named = [{"name": name, "probability": round(value, DIGITS)} for name, value in self.classes]
        return {"file": self.file, "classes": named}

    def line(self) -> str:
        """One line of text."""
        if self.error is not None:
            return f"cannot read {self.file}: {self.error}"
        return f"{self.file}: " + ", ".join(f"{name} {value:.4f}" for name, value in self.classes)


def answers(predictor: Predictor, files: Sequence[Path], top: int) -> Iterator[Answer]:
    """An answer for each of the files, in their order.

    Args:
        predictor: classifies them, a batch at a time.
        files: picture files.
        top: how many classes an answer names at most, >= 1.
    """
    for start in range(0, len(files), predictor.batch):
        images: list[Tensor] = []
        errors: dict[Path, str] = {}
        part = files[start : start + predictor.batch]
        for path in part:
            try:
                images.append(predictor.read(path))
            except UnreadableError as error:
                errors[path] = str(error).removeprefix(f"{path}: ")
        rows = iter(predictor.probabilities(torch.stack(images)) if images else ())
        for path in part:
            if path in errors:
                yield Answer(file=str(path), error=errors[path])
            else:
                yield Answer(file=str(path), classes=_likeliest(next(rows), predictor.classes, top))


def _likeliest(probabilities: Tensor, classes: Sequence[str], top: int) -> tuple[tuple[str, float], ...]:
    values, indices = probabilities.topk(min(top, len(classes)))
    return tuple((classes[index], value) for index, value in zip(indices.tolist(), values.tolist(), strict=True))
