"""Export: a network as one file for other programs, checked against the network before it gets its name."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from edgekd.data.sources import Labelled
from edgekd.errors import ConfigError
from edgekd.files.atomic import atomic_file
from edgekd.files.tensors import safetensors_pieces
from edgekd.seeds import derive
from edgekd.use.onnx_file import to_onnx, with_metadata
from edgekd.use.predictor import Predictor
from edgekd.use.reduced import to_float16, to_int8
from edgekd.use.runtime import Difference, ExportError, Session, difference, latency_ratio
from edgekd.use.trained import accuracy_metadata

CHECKED = 256  # images at most that the file is checked on
COSTS = 0.02  # of accuracy: what loses more is warned of
SLOWER = 1.2  # of the latency of float32: what takes longer is warned of; below is noise on a busy machine


@dataclass(frozen=True, kw_only=True, slots=True)
class Reduced:
    """What smaller numbers cost and bring, against the same network in float32."""

    accuracy_before: float | None  # in float32, on the evaluation set, by onnxruntime; None: there is no evaluation set
    accuracy_after: float | None  # with the smaller numbers
    evaluation_samples: int
    latency_ratio: float  # to float32, for one image on this machine: the median over pairs of runs
    size_ratio: float  # of the file in float32

    def warnings(self, name: str) -> list[str]:
        """What speaks against `name`: "int8" or "float16"."""
        found = []
        if self.accuracy_before is not None and self.accuracy_after is not None:
            lost = self.accuracy_before - self.accuracy_after
            if lost > COSTS:
                found.append(f"{name} costs {lost:.3f} of accuracy; export it without, in float32")
        if self.latency_ratio > SLOWER:
            found.append(f"{name} is slower than float32 on this machine: {self.latency_ratio:.2f} times the latency")
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was written."""

    precision: str  # float32, float16 or int8
    bytes: int
    difference: Difference  # of the file from the network
    reduced: Reduced | None  # None: float32
    metadata: dict[str, str]  # in the file


def noise(size: int) -> Tensor:
    """Images to check a file on where there are none of the public set, uint8 ``[64, 3, size, size]``."""
    generator = torch.Generator().manual_seed(derive(0, "export"))
    return torch.randint(0, 256, (64, 3, size, size), dtype=torch.uint8, generator=generator)


def export_onnx(
    predictor: Predictor, path: Path, precision: str, images: Tensor, evaluation: Labelled | None
) -> Exported:
    """Write an ONNX file; an existing file is replaced, once the new one has been checked.

    Args:
        predictor: of the network, on the CPU.
        path: of the file.
        precision: float32, float16 or int8.
        images: to check the file on, and with int8 to calibrate with: uint8 ``[N, 3, S, S]``.
        evaluation: to measure the accuracy with smaller numbers on; None: it is not measured.

    Raises:
        ConfigError: the network cannot be written as ONNX, or the file cannot be written.
        ExportError: the file does not do what the network does.
    """
    checked = images[:CHECKED]
    with _written_to(path):
        whole = model = to_onnx(predictor.model, predictor.size)
        if precision != "float32":
            _check_same(difference(Session(whole), predictor, checked))
            model = to_int8(whole, images) if precision == "int8" else to_float16(whole)
        reduced = None if model is whole else _compare(model, whole, evaluation, checked[:1])
        about = predictor.trained.metadata() | {"precision": precision}
        if reduced is not None and reduced.accuracy_after is not None:
            step = predictor.trained.info.step
            about |= accuracy_metadata(reduced.accuracy_after, reduced.evaluation_samples, step)
        model = with_metadata(model, about)
        with atomic_file(path) as file:
            file.write(model)
            file.flush()
            session = Session(Path(file.name).read_bytes())  # as it is on the disk
            found = difference(session, predictor, checked)
            if precision == "float32":
                _check_same(found)
            if session.metadata != about:
                raise ExportError(
                    f"the exported file's metadata are not what was written: {json.dumps(session.metadata)}"
                )
    return Exported(precision=precision, bytes=len(model), difference=found, reduced=reduced, metadata=about)


def export_safetensors(predictor: Predictor, path: Path) -> tuple[int, dict[str, str]]:
    """Write the network's state_dict under its own names; returns the number of bytes, and the metadata.

    Raises:
        ConfigError: the file cannot be written.
    """
    about = predictor.trained.metadata() | {"precision": "float32"}
    with _written_to(path), atomic_file(path) as file:
        return sum(file.write(piece) for piece in safetensors_pieces(predictor.model.state_dict(), about)), about


def _compare(model: bytes, whole: bytes, evaluation: Labelled | None, image: Tensor) -> Reduced:
    after, before = Session(model), Session(whole)
    return Reduced(
        accuracy_before=None if evaluation is None else before.accuracy(evaluation),
        accuracy_after=None if evaluation is None else after.accuracy(evaluation),
        evaluation_samples=0 if evaluation is None else len(evaluation.labels),
        latency_ratio=latency_ratio(after, before, image),
        size_ratio=len(model) / len(whole),
    )


def _check_same(found: Difference) -> None:
    if not found.is_rounding:
        raise ExportError(
            f"the exported file differs from the network by {found.probabilities:.1e} of a probability and "
            f"{found.logits:.1e} of a logit, on {found.images} images: no file is written"
        )


@contextmanager
def _written_to(path: Path) -> Iterator[None]:
    """A full disk, here or where temporary files are, is an error that names it."""
    try:
        yield
    except OSError as error:
        where = f"{path}, or temporary files in {tempfile.gettempdir()}"
        raise ConfigError(
            f"cannot write {where}: {error.strerror or error}; what was there before is unchanged"
        ) from error
