"""What a run has reached, as data: each peer's accuracy, the lone and pooled baselines, the share of the gap closed."""

import math
import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

_SIMULATED = ("ages", "teachers")  # fields that only an asynchronous simulation fills in


def standard_error(accuracy: float, samples: int) -> float:
    """Of an accuracy measured on `samples` images: the binomial's."""
    return math.sqrt(accuracy * (1 - accuracy) / max(1, samples))


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerSummary:
    """One peer at its end. Accuracies are fractions in [0, 1] of the evaluation set, bytes those of payloads."""

    id: int
    accuracy: float | None  # None: it was stopped before its first evaluation
    own_accuracy: float | None  # weighted to the label distribution of the private shard
    steps: int
    head_accuracies: tuple[float, ...] = ()  # of every head; `accuracy` is the last one's
    lessons: int = 0  # steps that had one
    fresh_lessons: int = 0  # those with a frame not learned from before
    waits: int = 0  # steps that waited for the network: synchronous mode only
    missing: int = 0  # predictions that a synchronous lesson did without
    private_samples: int = 0
    evaluation_samples: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    replaced: int = 0  # frames that a newer one took the place of before they were sent
    refused: dict[str, int] = field(default_factory=dict)  # frames and neighbours, by reason
    weights_sha256: str = ""
    liar: bool = False  # simulated only: it sent lies, so its own accuracy counts in no mean
    ages: tuple[int, ...] | None = (
        None  # of each lesson, ascending, in steps; only where it was simulated asynchronously
    )
    teachers: float | None = None  # a lesson, on average; the same


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """One run. `seconds` is filled in by whoever has a clock."""

    peers: tuple[PeerSummary, ...]
    seconds: float = 0.0
    baseline: "Summary | None" = None  # the same peers alone, without balance
    balanced: "Summary | None" = None  # alone and balanced; only where balance is on
    pooled: float | None = None  # accuracy of one model on all shards together

    @property
    def mean_accuracy(self) -> float | None:
        """Over the honest peers."""
        reached = self._reached()
        return statistics.fmean(reached) if reached else None

    @property
    def std_accuracy(self) -> float | None:
        """Population standard deviation over the same."""
        reached = self._reached()
        return statistics.pstdev(reached) if reached else None

    @property
    def gap_closed(self) -> float | None:
        """(together - alone) / (pooled - alone), alone and pooled without balance; None where there is no gap."""
        alone = self.baseline.mean_accuracy if self.baseline else None
        if alone is None or self.pooled is None or self.mean_accuracy is None or self.pooled <= alone:
            return None
        return (self.mean_accuracy - alone) / (self.pooled - alone)

    def _reached(self) -> list[float]:
        return [peer.accuracy for peer in self.peers if peer.accuracy is not None and not peer.liar]

    def to_mapping(self) -> dict[str, Any]:
        """The contents of ``summary.json``."""
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
            mapping["pooled"] = {"accuracy": self.pooled}
        if self.baseline and self.pooled is not None:
            mapping["gap_closed"] = self.gap_closed
        return mapping

    @classmethod
    def from_mapping(cls, mapping: dict[str, Any]) -> "Summary":
        """What `to_mapping` wrote."""
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
    return {name: value for name, value in asdict(peer).items() if name not in _SIMULATED or value is not None}


def _peer(mapping: dict[str, Any]) -> PeerSummary:
    ages = mapping.get("ages")
    heads = tuple(mapping.get("head_accuracies", ()))
    return PeerSummary(**{**mapping, "head_accuracies": heads, "ages": None if ages is None else tuple(ages)})


def merge(summaries: list[Summary], seconds: float) -> Summary:
    """One summary of peers that each wrote their own."""
    peers = sorted((peer for summary in summaries for peer in summary.peers), key=lambda peer: peer.id)
    return Summary(peers=tuple(peers), seconds=seconds)
