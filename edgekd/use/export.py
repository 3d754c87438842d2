"""Export: writing a network as one file for other programs, checked against the network before it is complete."""

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

CHECKED = 256  # the largest number of images on which the file is checked
COSTS = 0.02  # of accuracy; a larger loss causes a warning
SLOWER = 1.2  # times the latency of float32; if it is more, there is a warning; smaller differences may be noise


@dataclass(frozen=True, kw_only=True, slots=True)
class Reduced:
    """What a smaller number format costs and saves, compared with the same network in float32."""

    accuracy_before: float | None  # of float32 in onnxruntime, on the evaluation set; None: there is no such set
    accuracy_after: float | None  # of the smaller format
    evaluation_samples: int
    latency_ratio: float  # for one image on this machine, relative to float32: the median over pairs of runs
    size_ratio: float  # relative to the file in float32

    def warnings(self, name: str) -> list[str]:
        """The warnings about this format; `name` is "int8" or "float16"."""
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
    """The result of an export."""

    precision: str  # float32, float16 or int8
    bytes: int
    difference: Difference  # of the file from the network
    reduced: Reduced | None  # None if it is float32
    metadata: dict[str, str]  # the metadata in the file


def noise(size: int) -> Tensor:
    """Random images for checking a file if there is no public set, uint8 ``[64, 3, size, size]``."""
    generator = torch.Generator().manual_seed(derive(0, "export"))
    return torch.randint(0, 256, (64, 3, size, size), dtype=torch.uint8, generator=generator)


def export_onnx(
    predictor: Predictor, path: Path, precision: str, images: Tensor, evaluation: Labelled | None
) -> Exported:
    """Write an ONNX file. An existing file is replaced only when the new one has been checked.

    Args:
        predictor: the network, on the CPU.
        path: the file to write.
        precision: float32, float16 or int8.
        images: images for checking the file and, with int8, for calibration: uint8 ``[N, 3, S, S]``.
        evaluation: images for measuring the accuracy of float16 or int8; None: it is not measured.

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
            session = Session(Path(file.name).read_bytes())  # read back from the disk
            found = difference(session, predictor, checked)
            if precision == "float32":
                _check_same(found)
            if session.metadata != about:
                raise ExportError(
                    f"the exported file's metadata are not what was written: {json.dumps(session.metadata)}"
                )
    return Exported(precision=precision, bytes=len(model), difference=found, reduced=reduced, metadata=about)


def export_safetensors(predictor: Predictor, path: Path) -> tuple[int, dict[str, str]]:
    """Write the network's state_dict as safetensors; returns the number of bytes, and the metadata.

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
    """A block in which errors of writing, here or in the folder of temporary files, become a ConfigError."""
    try:
        yield
    except OSError as error:
        where = f"{path}, or temporary files in {tempfile.gettempdir()}"
        raise ConfigError(
            f"cannot write {where}: {error.strerror or error}; what was there before is unchanged"
        ) from error
