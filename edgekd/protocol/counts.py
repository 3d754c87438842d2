"""Counters of one peer: over its training steps, and over the predictions that it sends and receives."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Counters over all training steps of one peer. A lesson is what a step learns from its neighbours."""

    lessons: int = 0  # steps that had a lesson
    fresh_lessons: int = 0  # lessons with predictions that no earlier lesson held
    waits: int = 0  # steps that waited for the network; only in synchronous mode
    missing: int = 0  # predictions that did not arrive in time for a synchronous lesson


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Counters of one peer's predictions since its start, summed over all neighbours, also over forgotten ones."""

    bytes_sent: int = 0  # of predictions, without the frames around them
    bytes_received: int = 0
    replaced: int = 0  # predictions that were never sent, because newer ones took their place
