"""A stand-in for a learner, with constant predictions, to study only the exchange of very many peers."""

import hashlib

import torch
from torch import Tensor

from edgekd.config import Config
from edgekd.protocol.messages import Contract, Lesson

MODEL = "none"  # value of `--model` for a group of stand-ins
CLASSES = 10


class StandIn:
    """Makes the same predictions for every round and learns nothing.

    Args:
        config: for the size of the public batch and the number of heads.
    """

    def __init__(self, config: Config) -> None:
        self.step = 0
        self.alone_until = config.steps // 2 if config.distill.two_phase else 0
        uniform = torch.full((config.model.heads, config.public_batch, CLASSES), 1 / CLASSES)
        self._log_probs = uniform.log()

    @property
    def disagreements(self) -> dict[int, float]:
        """The disagreement of each neighbour, by its id: always empty, since a stand-in compares nothing."""
        return {}

    def teach(self, round: int, *, keep: bool = False) -> Tensor:
        """The constant log-probabilities ``[heads, rows, classes]``."""
        return self._log_probs

    def study(self) -> None:
        """Do nothing: a stand-in has no private images."""

    def learn(self, lesson: Lesson | None) -> None:
        """Count the step."""
        self.step += 1

    def weights_sha256(self) -> str:
        """The SHA-256 of no weights."""
        return hashlib.sha256().hexdigest()


def contract_of(config: Config) -> Contract:
    """The contract of a group of stand-ins, which has no public file."""
    return Contract(
        public_sha256="0" * 64,
        public_batch=config.public_batch,
        classes=CLASSES,
        heads=config.model.heads,
        temperature=config.distill.temperature,
        augment="none",
        mode="async",
    )
