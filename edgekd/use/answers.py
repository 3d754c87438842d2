"""Answers of a network for picture files: one for each file, in their order, even if a file cannot be read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgekd.data.pictures import UnreadableError
from edgekd.use.predictor import Predictor

DIGITS = 6  # decimals of a probability in JSON and CSV


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the network says about one picture file."""

    file: str  # the path as it was given or found
    classes: tuple[tuple[str, float], ...] = ()  # names and probabilities, the most probable class first
    error: str | None = None  # the reason if the file cannot be read

    def to_mapping(self) -> dict[str, Any]:
        """The answer as a mapping for JSON: ``file``, and either ``classes`` or ``error``."""
        if self.error is not None:
            return {"file": self.file, "error": self.error}
        named = [{"name": name, "probability": round(value, DIGITS)} for name, value in self.classes]
        return {"file": self.file, "classes": named}

    def line(self) -> str:
        """The answer as one line of text."""
        if self.error is not None:
            return f"cannot read {self.file}: {self.error}"
        return f"{self.file}: " + ", ".join(f"{name} {value:.4f}" for name, value in self.classes)


def answers(predictor: Predictor, files: Sequence[Path], top: int) -> Iterator[Answer]:
    """Classify picture files; yields an answer for each, in their order.

    Args:
        predictor: the network, which classifies a batch at a time.
        files: picture files.
        top: the largest number of classes in an answer, >= 1.
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
