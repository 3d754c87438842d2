"""Running an ONNX file with onnxruntime: its answers, its speed, and its difference from the network."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgekd.data.sources import Labelled
from edgekd.errors import ConfigError, EdgeKDError
from edgekd.printable import LONGEST_WHY, printable
from edgekd.use.onnx_file import INPUT, OUTPUTS, TRACED
from edgekd.use.predictor import Predictor
from edgekd.workers import at_once

BATCHES = (1, 7, 64)  # sizes of the batches, in turn: the file must accept any number of images
# Largest difference of a probability; for logits, as a fraction of the largest one. float32 rounds to about 1e-5.
TOLERANCE = 1e-3
ROUNDS = 200  # number of measurements of the latency
FIXED = (  # advice if a file runs only with some numbers of images
    "a network that takes the number of images as a Python int, as in x.reshape(int(x.shape[0]), 8), is fixed to that "
    "number: use x.flatten(1)"
)
SECONDS = 10.0  # after this time, no further measurement begins


class ExportError(EdgeKDError):
    """The exported file does not do what the network does. No file is written."""


def check_installed() -> None:
    """Check that the packages of the extra ``export`` are installed.

    Raises:
        ConfigError: one of them is not.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"ONNX files are written with onnx and onnxruntime ({error}): pip install onnx onnxruntime; "
            "or use --format safetensors"
        ) from error


class Session:
    """An ONNX file that onnxruntime has loaded, on the CPU.

    Args:
        model: the bytes of the file.

    Raises:
        ExportError: onnxruntime cannot read the file.
    """

    def __init__(self, model: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # no log: whatever fails raises an error
        options.intra_op_num_threads = at_once(1)  # the default is all cores, even those not allowed
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class of its own for each kind of error
            raise ExportError(f"onnxruntime cannot read the exported file: {_why(error)}") from error

    @property
    def metadata(self) -> dict[str, str]:
        """The texts that `edgekd export` has put into the ONNX file, such as ``classes`` and ``size``, by name."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the probabilities and logits of images, uint8 ``[N, 3, S, S]``; each is float32 ``[N, classes]``.

        Raises:
            ExportError: the file cannot be run with this number of images.
        """
        try:
            found: list[Any] = self._session.run(list(OUTPUTS), {INPUT: images.numpy()})
        except Exception as error:  # see `__init__`
            raise ExportError(
                f"onnxruntime cannot run the exported file on {len(images)} images: {_why(error)}"
            ) from error
        probabilities, logits = (torch.from_numpy(each) for each in found)
        return probabilities, logits

    def run_all(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the probabilities and logits of many images, in batches of different sizes.

        Raises:
            ExportError: the file cannot be run, or only with batches of some sizes.
        """
        found: list[tuple[Tensor, Tensor]] = []
        start = 0
        while start < len(images):
            count = BATCHES[min(len(found), len(BATCHES) - 1)]
            try:
                found.append(self.run(images[start : start + count]))
            except ExportError as error:
                if found or self._runs(images[:1].repeat(TRACED, 1, 1, 1)):
                    raise ExportError(f"{error}; {FIXED}") from error
                raise
            start += count
        return torch.cat([each[0] for each in found]), torch.cat([each[1] for each in found])

    def _runs(self, images: Tensor) -> bool:
        try:
            self.run(images)
        except ExportError:
            return False
        return True

    def accuracy(self, evaluation: Labelled) -> float:
        """The fraction of images that are classified correctly, in [0, 1]."""
        answers = self.run_all(evaluation.images)[1].argmax(dim=1)
        return float((answers == evaluation.labels).double().mean())


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The difference between an exported file and the network, on some images."""

    probabilities: float  # largest absolute difference
    logits: float  # the same
    largest_logit: float  # largest absolute value, from the network
    same_answers: float  # fraction of images with the same most probable class
    images: int

    @property
    def is_rounding(self) -> bool:
        """Whether the difference can be explained by rounding in float32."""
        limit = TOLERANCE * max(1.0, self.largest_logit)
        return self.probabilities <= TOLERANCE and self.logits <= limit  # False for NaN


def difference(session: Session, predictor: Predictor, images: Tensor) -> Difference:
    """Compare a file with the network from which it was made.

    Args:
        session: the file.
        predictor: the network, on the CPU.
        images: uint8 ``[N, 3, S, S]``.

    Raises:
        ExportError: the outputs of the file have a wrong shape or type, are not finite, or are not probabilities.
    """
    probabilities, logits = session.run_all(images)
    shape = (len(images), len(predictor.classes))
    for name, found in (("probabilities", probabilities), ("logits", logits)):
        if found.shape != shape or found.dtype != torch.float32:
            raise ExportError(f"the exported file's {name} are {found.dtype} {list(found.shape)}, not float32 {shape}")
        if not found.isfinite().all():
            raise ExportError(f"the exported file's {name} are not finite: this network needs float32")
    if (probabilities.sum(dim=1) - 1).abs().max() > TOLERANCE:
        raise ExportError("the exported file's probabilities do not sum to 1")
    expected = torch.cat([predictor.logits(part) for part in images.split(predictor.batch)])
    return Difference(
        probabilities=float((probabilities - expected.softmax(dim=1)).abs().max()),
        logits=float((logits - expected).abs().max()),
        largest_logit=float(expected.abs().max()),
        same_answers=float((logits.argmax(dim=1) == expected.argmax(dim=1)).double().mean()),
        images=len(images),
    )


def latency_ratio(one: Session, other: Session, image: Tensor) -> float:
    """The latency of `one` for one image, as a multiple of the latency of `other`: `paired_ratio` of alternating runs.

    Args:
        one: the session that is measured.
        other: the session with which it is compared.
        image: uint8 ``[1, 3, S, S]``.
    """
    taken: dict[Session, list[float]] = {one: [], other: []}
    for session in (one, other, one, other):  # the first runs allocate memory
        session.run(image)
    end = time.perf_counter() + SECONDS
    for number in range(ROUNDS):
        for session in (one, other) if number % 2 else (other, one):
            begin = time.perf_counter()
            session.run(image)
            taken[session].append(time.perf_counter() - begin)
        if time.perf_counter() > end:
            break
    return paired_ratio(taken[one], taken[other])


def paired_ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """The median of the ratios `one` / `other`, pair by pair.

    On a busy machine, some runs take ten times as long as others. If about half of the runs are slow, it is chance
    whether the median of one session is a slow or a fast run, so the ratio of two medians would say nothing.

    Args:
        one: durations in seconds, > 0.
        other: as many durations, each measured next to the one at the same index.
    """
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _why(error: Exception) -> str:
    return printable(str(error).strip() or type(error).__name__, LONGEST_WHY)
