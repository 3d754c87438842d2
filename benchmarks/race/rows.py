"""The rows of the result files, and how they are written and read."""

import contextlib
import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A node of a run. A system that cannot be installed has one row, whose note says why."""

    who: str
    setting: str  # data set and part, such as "digits" or "digits, killed"
    seed: int
    node: str  # the id; "server": a coordinator's box
    accuracy: float | None = None  # at its end
    bytes: int | None = None  # sent and received over the network, until the last node's end
    seconds: float | None = None  # from the command to its last evaluation
    processor_seconds: float | None = None
    rss_mb: float | None = None  # the largest sum of the resident memory of its processes
    note: str = ""  # NAME=VALUE and sentences, separated by "; "

    @property
    def notes(self) -> dict[str, float]:
        """The numbers in the note, by name."""
        found = {}
        for part in self.note.split("; "):
            name, _, value = part.partition("=")
            with contextlib.suppress(ValueError):
                found[name] = float(value)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint:
    """An evaluation of a node."""

    who: str
    setting: str
    seed: int
    node: str
    step: int
    accuracy: float
    seconds: float
    processor_seconds: float
    bytes: int


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def write_csv(path: Path, kind: type, rows: Iterable[Any]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(kind))
        writer.writerows([_text(value) for value in asdict(row).values()] for row in rows)


def read_rows(path: Path) -> list[Row]:
    """The rows of a file that `write_csv` wrote."""
    with path.open(newline="") as file:
        return [_row(read) for read in csv.DictReader(file)]


def _row(read: dict[str, str]) -> Row:
    numbers = {name: float(read[name]) if read[name] else None for name in _NUMBERS}
    size = int(read["bytes"]) if read["bytes"] else None
    texts = {name: read[name] for name in ("who", "setting", "node", "note")}
    return Row(**texts, **numbers, seed=int(read["seed"]), bytes=size)  # type: ignore[arg-type]


_NUMBERS = ("accuracy", "seconds", "processor_seconds", "rss_mb")
