"""Evaluation of a trained network on labelled images: the scores of its heads, and its most confident mistakes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgekd.config import Config
from edgekd.data.augment import normalise
from edgekd.data.sources import Labelled
from edgekd.errors import ConfigError
from edgekd.files.evaluation_file import load_counted, read_counted
from edgekd.files.watching import Watch, unwatched
from edgekd.learning.divergence import check_finite
from edgekd.learning.evaluation import PIXELS
from edgekd.use.scores import ClassScore, Scores, Shard, counted_scores, scores
from edgekd.use.trained import Trained

MISTAKES = 24  # number of most confident mistakes that are listed
DIGITS = 6  # decimals of a fraction in JSON


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """A picture that was classified wrongly."""

    place: int  # its index in the evaluation set
    file: Path | None  # None: the set does not come from files
    label: str
    predicted: str
    probability: float  # of the predicted class

    def to_mapping(self) -> dict[str, Any]:
        """The mistake as a mapping for JSON; ``file`` is missing if there is none."""
        named = {} if self.file is None else {"file": str(self.file)}
        return {
            **named,
            "place": self.place,
            "label": self.label,
            "predicted": self.predicted,
            "probability": round(self.probability, DIGITS),
        }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judgement:
    """The evaluation of one peer, as `edgekd eval` shows it."""

    id: int
    step: int
    about: str  # a description of the network
    scores: Scores  # of the head whose answers count
    checkpoint: str | None = None  # name of its file; None: only the counts of an evaluation are known
    head: int | None = None  # index of the head whose answers count; None: only the counts of an evaluation are known
    heads: tuple[Scores, ...] = ()  # of all heads; (): unknown
    mistakes: tuple[Mistake, ...] = ()  # of the head whose answers count, the most confident first

    def to_mapping(self) -> dict[str, Any]:
        """The evaluation as a mapping for JSON; unknown values are null."""
        answering = self.scores
        return {
            "id": self.id,
            "step": self.step,
            "checkpoint": self.checkpoint,
            "accuracy": answering.accuracy,
            "head_accuracies": [each.accuracy for each in self.heads],
            "evaluation_samples": answering.samples,
            "head": self.head,
            **_short(answering),
            "classes": [_class_mapping(each) for each in answering.classes],
            "confusion": answering.confusion.tolist(),
            "reliability": [
                {
                    "low": each.low,
                    "high": each.high,
                    "images": each.images,
                    "confidence": round(each.confidence, DIGITS),
                    "accuracy": round(each.accuracy, DIGITS),
                }
                for each in answering.bins
            ],
            "heads": [{"accuracy": each.accuracy, **_short(each)} for each in self.heads],
            "surest_mistakes": [each.to_mapping() for each in self.mistakes],
        }


def judge(
    trained: Trained,
    evaluation: Labelled,
    config: Config,
    device: torch.device,
    *,
    top: int,
    watch: Watch = unwatched,
) -> Judgement:
    """Evaluate the network of a checkpoint.

    Args:
        trained: the network.
        evaluation: the labelled images.
        config: the settings of its run.
        device: the device that computes.
        top: top-k accuracies are computed up to this k.
        watch: is called with the total number of images; its context is called with each number classified.

    Raises:
        DivergedError: the network's outputs are NaN or infinite.
    """
    info, names = trained.info, trained.classes
    logits = _logits(trained, evaluation, device, watch)
    check_finite([logits], info.id, info.step)
    shard = _shard(trained, config)
    heads = tuple(scores(head, evaluation, names, top=top, shard=shard) for head in logits)
    return Judgement(
        id=info.id,
        step=info.step,
        about=f"{info.model}, {info.size} px",
        scores=heads[trained.head],
        checkpoint=trained.file.name,
        head=trained.head,
        heads=heads,
        mistakes=_mistakes(logits[trained.head], evaluation, names),
    )


def judge_counts(file: Path) -> Judgement:
    """Make an evaluation from the counts of a peer's last one, without its network and its pictures.

    Args:
        file: an ``evaluation.json``, or the folder that contains it.

    Raises:
        ConfigError: there is no such file, it is damaged, or it counts no images.
    """
    counted = load_counted(file)
    if not counted.confusion:
        raise ConfigError(f"{file} counts no images")
    found = counted_scores(counted.confusion, counted.classes)
    return Judgement(id=counted.id, step=counted.step, about="The counts of its last evaluation", scores=found)


@torch.no_grad()
def _logits(trained: Trained, evaluation: Labelled, device: torch.device, watch: Watch) -> Tensor:
    """The logits of all heads, float32 ``[heads, N, classes]`` on the CPU."""
    model = trained.classifier.to(device)
    batches = evaluation.images.split(max(1, PIXELS // trained.size**2))
    logits = []
    with watch(len(evaluation.images)) as advance:
        for images in batches:
            logits.append(model(normalise(images.to(device))).float().cpu())
            advance(len(images))
    return torch.cat(logits, dim=1)


def _shard(trained: Trained, config: Config) -> Shard | None:
    """What the peer's folder says about its private images; None: nothing."""
    counted = read_counted(trained.folder)
    if counted is None or (counted.id, counted.classes) != (trained.info.id, trained.classes):
        return None
    return Shard(counts=counted.private, balanced=config.distill.balance == "on")


def _mistakes(logits: Tensor, evaluation: Labelled, names: tuple[str, ...]) -> tuple[Mistake, ...]:
    values, predicted = logits.softmax(dim=1).max(dim=1)
    wrong = (predicted != evaluation.labels).nonzero().flatten()
    surest = wrong[values[wrong].argsort(descending=True, stable=True)][:MISTAKES]
    return tuple(
        Mistake(
            place=place,
            file=evaluation.files[place] if evaluation.files else None,
            label=names[int(evaluation.labels[place])],
            predicted=names[int(predicted[place])],
            probability=float(values[place]),
        )
        for place in surest.tolist()
    )


def _short(found: Scores) -> dict[str, Any]:
    return {
        "own_accuracy": _rounded(found.own_accuracy),
        "macro_f1": _rounded(found.macro_f1),
        "top_k": {str(k): round(value, DIGITS) for k, value in found.top_k.items()},
        "mean_confidence": _rounded(found.confidence),
        "expected_calibration_error": _rounded(found.calibration_error),
    }


def _class_mapping(each: ClassScore) -> dict[str, Any]:
    numbers = {name: _rounded(getattr(each, name)) for name in ("precision", "recall", "f1")}
    return {"name": each.name, **numbers, "support": each.support}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
