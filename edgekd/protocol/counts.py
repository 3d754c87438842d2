"""What a peer counts over its steps: one list of counters for the exchange, for progress and for summaries."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Counters of one peer, over all its steps."""

    lessons: int = 0  # steps that had a lesson
    fresh_lessons: int = 0  # lessons with predictions that were in no earlier lesson
    waits: int = 0  # steps that waited for the network; only in synchronous mode
    missing: int = 0  # predictions that were missing in synchronous lessons
