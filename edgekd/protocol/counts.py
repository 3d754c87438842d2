"""What a peer counts: over its steps, for the exchange, progress and summaries; and over its messages."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Counters of one peer, over all its steps."""

    lessons: int = 0  # steps that had a lesson
    fresh_lessons: int = 0  # lessons with predictions that were in no earlier lesson
    waits: int = 0  # steps that waited for the network; only in synchronous mode
    missing: int = 0  # predictions that were missing in synchronous lessons


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Counters of one peer's predictions, to and from all neighbours since its start, forgotten ones included."""

    bytes_sent: int = 0  # of payload
    bytes_received: int = 0
    replaced: int = 0  # frames that a newer frame replaced before they were sent
