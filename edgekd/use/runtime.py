"""An ONNX file run by onnxruntime: what it answers, how fast it is, and how far it is from the network itself."""

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

BATCHES = (1, 7, 64)  # images at once, in turn: any number must do
TOLERANCE = 1e-3  # of a probability; of a logit, as a share of the largest one. float32 rounds to some 1e-5
ROUNDS = 200  # of measuring the latency
FIXED = (  # what is said of a file that can be run on some numbers of images, and not on others
    "a network that takes the number of images as a Python int, as in x.reshape(int(x.shape[0]), 8), is fixed to that "
    "number: use x.flatten(1)"
)
SECONDS = 10.0  # after which no further round begins


class ExportError(EdgeKDError):
    """The exported file does not do what the network does. No file is written."""


def check_installed() -> None:
    """See whether the packages of the extra ``export`` are there.

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
        model: the file's bytes.

    Raises:
        ExportError: onnxruntime cannot read it.
    """

    def __init__(self, model: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # none: what fails raises
        options.intra_op_num_threads = at_once(1)  # else as many as the machine has cores, whoever may use them
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class of its own for each kind
            raise ExportError(f"onnxruntime cannot read the exported file: {_why(error)}") from error

    @property
    def metadata(self) -> dict[str, str]:
        """The file's ``metadata_props``."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The probabilities and logits of images, uint8 ``[N, 3, S, S]``; each float32 ``[N, classes]``.

        Raises:
            ExportError: the file cannot be run on so many images.
        """
        try:
            found: list[Any] = self._session.run(list(OUTPUTS), {INPUT: images.numpy()})
        except Exception as error:  # as in `__init__`
            raise ExportError(
                f"onnxruntime cannot run the exported file on {len(images)} images: {_why(error)}"
            ) from error
        probabilities, logits = (torch.from_numpy(each) for each in found)
        return probabilities, logits

    def run_all(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The same for many images, in batches of different sizes.

        Raises:
            ExportError: the file cannot be run on so many images, or only on batches of some sizes.
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
        """The share of the images that are classified correctly, in [0, 1]."""
        answers = self.run_all(evaluation.images)[1].argmax(dim=1)
        return float((answers == evaluation.labels).double().mean())


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How far an exported file is from the network, on some images."""

    probabilities: float  # the largest absolute difference
    logits: float  # the same
    largest_logit: float  # of the network, as an absolute value
    same_answers: float  # share of the images for which the likeliest class is the same
    images: int

    @property
    def is_rounding(self) -> bool:
        """Whether it is no more than float32 can explain."""
        limit = TOLERANCE * max(1.0, self.largest_logit)
        return self.probabilities <= TOLERANCE and self.logits <= limit  # False for NaN


def difference(session: Session, predictor: Predictor, images: Tensor) -> Difference:
    """Compare a file with the network that it was made of.

    Args:
        session: of the file.
        predictor: of the network, on the CPU.
        images: uint8 ``[N, 3, S, S]``.

    Raises:
        ExportError: the file's answers have another shape or type, are not finite, or are no probabilities.
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
    """How long `one` takes for one image, as a multiple of what `other` takes: `paired_ratio` of runs in turn.

    Args:
        one: the session that is measured.
        other: the session that it is compared with.
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

    On a busy machine some runs take ten times as long as others. Where these are about half of the runs, each median
    by itself lies among the short ones or among the long ones by chance, and so their ratio says nothing.

    Args:
        one: durations in seconds, > 0.
        other: the same number of them, each measured beside the one at its place.
    """
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _why(error: Exception) -> str:
    return printable(str(error).strip() or type(error).__name__, LONGEST_WHY)
