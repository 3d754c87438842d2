"""The results of a run: the accuracy of each peer, the baselines, and how much of the gap between them is closed."""

import math
import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

from edgekd.protocol.counts import Counts

SURE = 2.0  # standard errors; a larger difference is hardly due to chance
_SIMULATED = ("ages", "teachers")  # fields that only asynchronous simulations fill in


def standard_error(accuracy: float, samples: int) -> float:
    """The binomial standard error of an accuracy that was measured on `samples` images."""
    return math.sqrt(accuracy * (1 - accuracy) / max(1, samples))


def differ(right: int, images: int, other_right: int, other_images: int, errors: float = SURE) -> bool:
    """Whether two accuracies differ by more than `errors` standard errors.

    One right and one wrong image are added to each count, so that a few images that are all right do not count as
    certain. If both accuracies were measured on the same images, the test is conservative.

    Args:
        right: number of images that are classified correctly.
        images: number of images.
        other_right: the same for the other accuracy.
        other_images: the same for the other accuracy.
        errors: the threshold, in standard errors.

    Source: Agresti and Caffo 2000.
    """
    (first, n), (second, m) = (right + 1, images + 2), (other_right + 1, other_images + 2)
    p, q = first / n, second / m
    return abs(p - q) > errors * math.sqrt(p * (1 - p) / n + q * (1 - q) / m)


def with_error(accuracy: float | None, samples: int) -> str:
    """The accuracy and its standard error as text, ``0.944 ± 0.017``; a dash for None."""
    return "-" if accuracy is None else f"{accuracy:.3f} ± {standard_error(accuracy, samples):.3f}"


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerSummary(Counts):
    """The results of one peer.

    Accuracies are fractions of the evaluation set, in [0, 1]. Bytes are those of the predictions, without framing.
    """

    id: int
    accuracy: float | None  # None: the peer was stopped before its first evaluation
    own_accuracy: float | None  # weighted by the class frequencies of the peer's own shard
    steps: int
    accuracy_step: int | None = None  # step at which the accuracies were measured; None: unknown
    head_accuracies: tuple[float, ...] = ()  # accuracy of each head; the last one is `accuracy`
    private_samples: int = 0
    evaluation_samples: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    replaced: int = 0  # predictions that were never sent, because newer ones took their place
    refused: dict[str, int] = field(default_factory=dict)  # reason -> number of refused frames and neighbours
    weights_sha256: str = ""
    liar: bool = False  # only in simulations: the peer sent false predictions, so its accuracy is not part of the mean
    ages: tuple[int, ...] | None = None  # age of each lesson in steps, ascending; only in asynchronous simulations
    teachers: float | None = None  # mean number of teachers in a lesson; only in asynchronous simulations

    @property
    def accuracy_is_older(self) -> bool:
        """Whether the accuracies were measured before the last step."""
        return self.accuracy_step not in (None, self.steps)


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The results of one run. `seconds` is set by the caller, which has a clock."""

    peers: tuple[PeerSummary, ...]
    seconds: float = 0.0
    baseline: "Summary | None" = None  # the same peers without neighbours and without balance
    balanced: "Summary | None" = None  # without neighbours, with balance; None if balance is off
    pooled: float | None = None  # the accuracy of one model trained on all shards

    @property
    def mean_accuracy(self) -> float | None:
        """The mean accuracy of the honest peers; None if none was evaluated."""
        reached = self._reached()
        return statistics.fmean(reached) if reached else None

    @property
    def std_accuracy(self) -> float | None:
        """The population standard deviation of the accuracies of the honest peers; None if none was evaluated."""
        reached = self._reached()
        return statistics.pstdev(reached) if reached else None

    @property
    def gap_closed(self) -> float | None:
        """The part of the gap that learning together closes: (together - alone) / (pooled - alone).

        Alone and pooled are the baselines without balance. None if a baseline is missing or there is no gap.
        """
        alone = self.baseline.mean_accuracy if self.baseline else None
        if alone is None or self.pooled is None or self.mean_accuracy is None or self.pooled <= alone:
            return None
        return (self.mean_accuracy - alone) / (self.pooled - alone)

    @property
    def older_accuracies(self) -> str:
        """A sentence naming the peers that were last evaluated before their last step; "" if there are none."""
        older = [peer for peer in self.peers if peer.accuracy_is_older]
        each = ", ".join(f"peer {peer.id} at step {peer.accuracy_step} of {peer.steps}" for peer in older)
        return f"Last evaluated before their last step: {each}." if older else ""

    def _reached(self) -> list[float]:
        return [peer.accuracy for peer in self.peers if peer.accuracy is not None and not peer.liar]

    def to_mapping(self) -> dict[str, Any]:
        """The content of ``summary.json``."""
        mapping: dict[str, Any] = {
            "mean_accuracy": self.mean_accuracy,
            "std_accuracy": self.std_accuracy,
            "seconds": round(self.seconds, 3),
            "peers": [_peer_mapping(peer) for peer in self.peers],
        }
        if self.baseline:
            mapping["baseline"] = self.baseline.to_mapping()
            if self.balanced:
                mapping["baseline"]["balanced"] = self.balanced.to_mapping()
        if self.pooled is not None:
            samples = max((peer.evaluation_samples for peer in self.peers), default=0)  # the same images for all
            mapping["pooled"] = {"accuracy": self.pooled, "evaluation_samples": samples}
        if self.baseline and self.pooled is not None:
            mapping["gap_closed"] = self.gap_closed
        return mapping

    @classmethod
    def from_mapping(cls, mapping: dict[str, Any]) -> "Summary":
        """Make the summary from what `to_mapping` has written."""
        base = mapping.get("baseline")
        balanced = base.get("balanced") if base else None
        return cls(
            peers=tuple(_peer(peer) for peer in mapping["peers"]),
            seconds=mapping["seconds"],
            baseline=cls.from_mapping(base) if base else None,
            balanced=cls.from_mapping(balanced) if balanced else None,
            pooled=mapping["pooled"]["accuracy"] if "pooled" in mapping else None,
        )


def _peer_mapping(peer: PeerSummary) -> dict[str, Any]:
    shown = {name: value for name, value in asdict(peer).items() if name not in _SIMULATED or value is not None}
    return {"id": peer.id, **shown}  # the id first, since people read it first


def _peer(mapping: dict[str, Any]) -> PeerSummary:
    ages = mapping.get("ages")
    heads = tuple(mapping.get("head_accuracies", ()))
    return PeerSummary(**{**mapping, "head_accuracies": heads, "ages": None if ages is None else tuple(ages)})


def merge(summaries: list[Summary], seconds: float) -> Summary:
    """Merge the summaries of single peers into one."""
    peers = sorted((peer for summary in summaries for peer in summary.peers), key=lambda peer: peer.id)
    return Summary(peers=tuple(peers), seconds=seconds)
