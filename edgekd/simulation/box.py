"""One simulated peer: a learner, its exchange, and what both simulations do with them alike."""

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
    """One learner after one step."""

    id: int
    step: int  # steps done, from 1
    losses: Losses | None  # None: a stand-in for a learner has none
    accuracy: Accuracy | None  # None: not evaluated in this step


Report = Callable[[StepReport], None]


class Learning(Protocol):
    """What a simulation asks of a learner: `edgekd.learning.learner.Learner`, or a stand-in for it."""

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
        id: of the peer.
        learner: what learns.
        exchange: its side of the exchange algorithm.
        data: what it is evaluated on; None: it is not evaluated.
        config: all settings.
        liar: it learns as all do, but sends lies.
    """

    def __init__(
        self, id: int, learner: Learning, exchange: Exchange, data: PeerData | None, config: Config, *, liar: bool
    ) -> None:
        self.id, self.learner, self.exchange, self.liar = id, learner, exchange, liar
        self._data, self._config = data, config
        self._packing = Packing.parse(config.exchange.encoding)
        self.accuracy: Accuracy | None = None
        self.bytes_sent = self.bytes_received = 0  # of payloads

    def broadcast(self, teach: Teach) -> SoftPredictions:
        """The predictions that it sends about a round; a liar's lie, once it has begun to lie.

        Raises:
            DivergedError: the predictions are NaN.
        """
        log_probs = self.learner.teach(teach.round, keep=teach.keep).cpu()
        check_finite([log_probs], self.id, self.learner.step)
        kind, honest = self._config.exchange.lie, self._config.exchange.lie_from or 0
        if self.liar and kind is not None and self.learner.step >= honest:
            log_probs = lie(kind, log_probs, derive(self._config.train.seed, "peer", self.id, "lie", teach.round))
        return encode(log_probs, teach.round, self._packing)

    def step(self, lesson: Lesson | None) -> StepReport:
        """Do a step, and evaluate where that is due."""
        self.learner.study()
        return self.finish(lesson)

    def finish(self, lesson: Lesson | None) -> StepReport:
        """The rest of a step after the learner's `study`."""
        losses, accuracy = self.learner.learn(lesson), None
        if self._data is not None and is_evaluated(self.learner.step, self._config.train):
            accuracy = self.accuracy = self.learner.evaluate(self._data.evaluation)  # type: ignore[attr-defined]
        return StepReport(self.id, self.learner.step, losses, accuracy)

    def summary(self, **more: object) -> PeerSummary:
        """What it has reached; `more`: further fields of the summary."""
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
    """Who hears whom: each one's neighbours, by its id. At alpha 1 nobody learns from others, so nobody teaches.

    Raises:
        ConfigError: there is no such topology for so many.
    """
    if config.distill.alpha == 1 or len(ids) == 1:
        return dict.fromkeys(ids, ())
    return dict(zip(ids, neighbours(config.exchange.topology, len(ids), config.data_seed), strict=True))


def liars(config: Config, ids: Sequence[int]) -> frozenset[int]:
    """The last ``--liars`` of `ids`."""
    return frozenset(ids[len(ids) - (config.exchange.liars or 0) :])
