"""One simulated peer: a learner, its exchange, and what both simulations do with them in the same way."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from torch import Tensor

from edgekd.config import Config
from edgekd.data.datasets import PeerData
from edgekd.files.summary import PeerSummary
from edgekd.learning.divergence import check_finite
from edgekd.learning.evaluation import Accuracy, is_evaluated
from edgekd.learning.learner import Losses
from edgekd.protocol.codec import encode
from edgekd.protocol.encodings import Packing
from edgekd.protocol.exchange import Exchange, Teach
from edgekd.protocol.messages import Lesson, SoftPredictions
from edgekd.seeds import derive
from edgekd.simulation.lies import lie
from edgekd.simulation.topology import neighbours


@dataclass(frozen=True, slots=True)
class StepReport:
    """The report about one learner after one step."""

    id: int
    step: int  # steps done, from 1
    losses: Losses | None  # None: a stand-in has no losses
    accuracy: Accuracy | None  # None: not evaluated in this step


Report = Callable[[StepReport], None]


class Learning(Protocol):
    """The part of a learner that a simulation uses: a `Learner` has it, and a stand-in for one.

    `edgekd.learning.learner.Learner` explains what its attributes and methods mean.
    """

    step: int
    alone_until: int

    @property
    def disagreements(self) -> dict[int, float]: ...
    def teach(self, round: int, *, keep: bool = False) -> Tensor: ...
    def study(self) -> None: ...
    def learn(self, lesson: Lesson | None) -> Losses | None: ...
    def weights_sha256(self) -> str: ...


class Box:
    """One simulated peer.

    Args:
        id: the peer's id.
        learner: the learner.
        exchange: the peer's side of the exchange algorithm.
        data: the images on which it is evaluated; None: it is not evaluated.
        config: all settings.
        liar: whether it sends false predictions; it learns like the others.
    """

    def __init__(
        self, id: int, learner: Learning, exchange: Exchange, data: PeerData | None, config: Config, *, liar: bool
    ) -> None:
        self.id, self.learner, self.exchange, self.liar = id, learner, exchange, liar
        self._data, self._config = data, config
        self._packing = Packing.parse(config.exchange.encoding)
        self.accuracy: Accuracy | None = None
        self.bytes_sent = self.bytes_received = 0  # of predictions, without framing

    def broadcast(self, teach: Teach) -> SoftPredictions:
        """Compute and encode the predictions that this peer sends about a round; a liar's are false once it lies.

        Raises:
            DivergedError: the predictions are NaN or infinite.
        """
        log_probs = self.learner.teach(teach.round, keep=teach.keep).cpu()
        check_finite([log_probs], self.id, self.learner.step)
        kind, honest = self._config.exchange.lie, self._config.exchange.lie_from or 0
        if self.liar and kind is not None and self.learner.step >= honest:
            log_probs = lie(kind, log_probs, derive(self._config.train.seed, "peer", self.id, "lie", teach.round))
        return encode(log_probs, teach.round, self._packing)

    def step(self, lesson: Lesson | None) -> StepReport:
        """Do a whole step, and evaluate if it is time."""
        self.learner.study()
        return self.finish(lesson)

    def finish(self, lesson: Lesson | None) -> StepReport:
        """Do the part of a step that follows the learner's `study`."""
        losses, accuracy = self.learner.learn(lesson), None
        if self._data is not None and is_evaluated(self.learner.step, self._config.train):
            accuracy = self.accuracy = self.learner.evaluate(self._data.evaluation)  # type: ignore[attr-defined]
        return StepReport(self.id, self.learner.step, losses, accuracy)

    def summary(self, **more: object) -> PeerSummary:
        """The results of the peer; `more` are further fields of the summary."""
        accuracy, counts = self.accuracy, self.exchange.counts
        return PeerSummary(
            id=self.id,
            accuracy=accuracy.overall if accuracy else None,
            own_accuracy=accuracy.own if accuracy else None,
            head_accuracies=accuracy.heads if accuracy else (),
            steps=self.learner.step,
            accuracy_step=accuracy.step if accuracy else None,
            **asdict(counts),
            private_samples=len(self._data.private.labels) if self._data else 0,
            evaluation_samples=len(self._data.evaluation.labels) if self._data else 0,
            bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received,
            weights_sha256=self.learner.weights_sha256(),
            liar=self.liar,
            **more,  # type: ignore[arg-type]
        )


def hearing(config: Config, ids: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """The neighbours of each peer, by its id. With alpha 1, none learns from others, so there are no neighbours.

    Raises:
        ConfigError: the topology does not exist for so many peers.
    """
    if config.distill.alpha == 1 or len(ids) == 1:
        return dict.fromkeys(ids, ())
    return dict(zip(ids, neighbours(config.exchange.topology, len(ids), config.data_seed), strict=True))


def liars(config: Config, ids: Sequence[int]) -> frozenset[int]:
    """The ids of the liars: the last ``--liars`` of `ids`."""
    return frozenset(ids[len(ids) - (config.exchange.liars or 0) :])
