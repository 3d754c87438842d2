"""Reads curves: the lines that nodes wrote, and what a box had used at a moment."""

import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Point:
    """A moment of a node."""

    seconds: float  # since the command was given
    step: int  # steps done
    accuracy: float | None = None  # None: no evaluation ended then


def read_points(path: Path, began: float) -> list[Point]:
    """The points of a node's ``node-ID.jsonl``; none if there is no file. An incomplete last line is left out."""
    points = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            read = json.loads(line)
        except json.JSONDecodeError:
            continue
        points.append(Point(read["time"] - began, read["step"], read.get("accuracy")))
    return points


def final_accuracy(points: Iterable[Point]) -> float | None:
    """The last accuracy; None if there was no evaluation."""
    return accuracy_at(points, float("inf"))


def accuracy_at(points: Iterable[Point], seconds: float) -> float | None:
    """The last accuracy that was known at this time; None if none was."""
    known = [point.accuracy for point in points if point.accuracy is not None and point.seconds <= seconds]
    return known[-1] if known else None


def first_step(points: Iterable[Point]) -> float | None:
    """The seconds until the first step was done; None if none was."""
    return min((point.seconds for point in points if point.step > 0), default=None)


def idle_seconds(nodes: Sequence[Sequence[Point]], begin: float, end: float, gap: float) -> float:
    """The seconds in [begin, end] in which no node did a step.

    Args:
        nodes: the points of each node.
        begin: seconds since the command was given.
        end: the same.
        gap: seconds between two steps that are usual, so not idle; what is longer counts from its start.
    """
    steps = sorted({point.seconds for points in nodes for point in _progress(points) if begin < point.seconds < end})
    return sum(later - earlier for earlier, later in pairwise([begin, *steps, end]) if later - earlier > gap)


def _progress(points: Sequence[Point]) -> list[Point]:
    """The points at which a step was done, each step once."""
    return [later for earlier, later in pairwise([Point(0.0, 0), *points]) if later.step != earlier.step]


def value_at(times: Sequence[float], values: Sequence[float], time: float) -> float:
    """The last of `values` that was sampled not after `time`; the first one if there is none."""
    return values[max(0, bisect_right(times, time) - 1)]
