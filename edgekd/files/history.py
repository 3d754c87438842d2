"""The history of a run from ``metrics.jsonl``: the losses, and how often each neighbour taught the peer."""

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

POINTS = 200  # largest number of points of a loss curve; each is the mean of some steps

Curve = Sequence[tuple[float, float]]  # (step, value)


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """The history of one peer."""

    steps: int = 0  # number of steps in the file
    lessons: int = 0  # steps that learned from neighbours
    taught: dict[int, int] = field(default_factory=dict)  # id of a teacher -> number of lessons with its predictions
    labels: Curve = ()  # label loss
    distil: Curve = ()


def read_history(metrics: Path) -> History:
    """Read a ``metrics.jsonl``, which may be long; the history is empty if there is no file.

    Damaged lines are skipped.
    """
    if not metrics.is_file():
        return History()
    steps = lessons = 0
    taught: Counter[int] = Counter()
    losses: dict[str, list[tuple[float, float]]] = {"labels": [], "distil": []}
    with metrics.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
                teachers = [int(teacher) for teacher in record["teachers"]]
                values = {name: record.get(name) for name in losses}
                step = int(record["step"])
            except (ValueError, KeyError, TypeError):
                continue
            steps += 1
            lessons += bool(teachers)
            taught.update(teachers)
            for name, value in values.items():
                if isinstance(value, float):
                    losses[name].append((step, value))
    return History(
        steps=steps,
        lessons=lessons,
        taught=dict(sorted(taught.items())),
        labels=_smooth(losses["labels"]),
        distil=_smooth(losses["distil"]),
    )


def _smooth(points: Sequence[tuple[float, float]]) -> Curve:
    """Reduce a curve to at most `POINTS` points, each the mean of equally many neighbouring points."""
    window = -(-len(points) // POINTS) or 1
    parts = [points[start : start + window] for start in range(0, len(points), window)]
    return tuple(
        (statistics.fmean(step for step, _ in part), statistics.fmean(value for _, value in part)) for part in parts
    )
