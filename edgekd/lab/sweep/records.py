"""The results of a sweep on disk: ``results.csv`` and ``baselines.csv``, with a row for each client of a cell.

A row contains all settings that are needed to repeat it. So an interrupted sweep can continue from these files.
"""

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.config import BEFORE, SECTIONS, UNSWEPT, Config, from_mapping, setting_type, to_mapping
from edgekd.errors import ConfigError
from edgekd.files.atomic import write_atomically
from edgekd.files.summary import PeerSummary
from edgekd.files.writable import in_words
from edgekd.lab.sweep.canonical import LATER, canonical

TOGETHER, ALONE, POOLED = KINDS = "together", "alone", "pooled"  # kinds of cells; the last two are baselines

_FIRST = (
    *("cell", "kind", "data", "split", "gamma", "clients", "measure", "combine", "alpha", "temperature", "sharpen"),
    *("heads", "head_layers", "two_phase", "kd_scale", "kd_weight", "balance", "seed"),
    *("client", "liar", "accuracy", "own_accuracy", "head_accuracies", "evaluation_samples", "private_samples"),
    *("bytes_sent", "seconds", "processor", "weights_sha256"),
)
_SETTINGS = {
    f.name: (section, f)
    for section, kind in SECTIONS.items()
    for f in dataclasses.fields(kind)
    if f.name not in UNSWEPT
}
# The values in a row in which these columns are empty, whatever the defaults are now.
EARLIER = {name: str(value) for name, value in {**LATER, **BEFORE["data"]}.items()}
COLUMNS = (*_FIRST, *(name for name in _SETTINGS if name not in _FIRST))


@dataclass(frozen=True, slots=True)
class Cell:
    """One simulation of a sweep. Cells with the same result are equal, since their settings are made canonical."""

    kind: str  # TOGETHER, ALONE or POOLED
    config: Config  # in its canonical form

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", canonical(self.config, alone=self.kind != TOGETHER))

    @property
    def name(self) -> str:
        """The name of the cell: a hash of its kind and all its settings, 12 hexadecimal digits."""
        tables = {
            section: {name: value for name, value in table.items() if LATER.get(name) != value}
            for section, table in to_mapping(self.config).items()
        }
        content = json.dumps([self.kind, tables], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    @property
    def rows(self) -> int:
        """The number of its rows: one for each client; pooled is one model."""
        return 1 if self.kind == POOLED else self.config.data.clients


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of a finished cell."""

    cell: Cell
    peers: tuple[PeerSummary, ...]  # sorted by id; one for POOLED
    seconds: float
    processor: str = ""  # the processor that it ran on; empty in older files, which did not store it

    @property
    def accuracies(self) -> list[float]:
        """The accuracies of the honest peers that did all their steps, in the order of their ids."""
        return [peer.accuracy for peer in self.peers if not peer.liar and peer.accuracy is not None]


def split_name(config: Config) -> str:
    """The kind of the split: "iid", "gamma" or "dirichlet"."""
    data = config.data
    return "iid" if data.iid else "gamma" if data.dirichlet is None else "dirichlet"


def read_outcomes(folder: Path) -> list[Outcome]:
    """Read all finished cells in `folder`, in the order in which they finished; incomplete cells are left out.

    Raises:
        ConfigError: a file cannot be read, or is not such a file.
    """
    return [outcome for name in ("results.csv", "baselines.csv") for outcome in _read(folder / name)]


def append_outcome(folder: Path, outcome: Outcome) -> None:
    """Append the rows of a cell to the file for its kind, all or none, and sync them to the disk.

    Raises:
        OSError: the disk is full or not writable.
    """
    path = folder / ("results.csv" if outcome.cell.kind == TOGETHER else "baselines.csv")
    if not path.exists():
        write_atomically(path, [_bytes([list(COLUMNS)])])
    rows, size = _bytes(_rows(outcome)), path.stat().st_size
    with path.open("ab") as file:
        try:
            file.write(rows)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(path, size)  # later data must not follow half a row
            raise


def tidy(folder: Path) -> None:
    """Rewrite the files with the columns of this version, without incomplete cells that a killed sweep has left.

    Raises:
        ConfigError: a file cannot be read, or is not such a file.
        OSError: the disk is full or not writable.
    """
    for name in ("results.csv", "baselines.csv"):
        path = folder / name
        if path.exists():
            rows = [row for outcome in _read(path) for row in _rows(outcome)]
            write_atomically(path, [_bytes([list(COLUMNS), *rows])])


def _read(path: Path) -> list[Outcome]:
    if not path.exists():
        return []
    try:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # a sweep that was killed while it wrote may have left half a line
        reader = csv.DictReader(io.StringIO(whole.decode("utf-8", errors="surrogateescape"), newline=""))
        rows = list(reader)
    except (OSError, csv.Error) as error:
        why = in_words(error) if isinstance(error, OSError) else error
        raise ConfigError(f"cannot read {path}: {why}") from error
    if not {"cell", "kind", "client"}.issubset(reader.fieldnames or ()):  # the first line is always complete
        raise ConfigError(f"{path} is not a sweep's results: its first line names no cell, kind and client")
    if unknown := sorted(set(reader.fieldnames or ()) - set(COLUMNS)):
        raise ConfigError(
            f"{path} holds settings that this version does not know: {', '.join(unknown)}; upgrade edgekd"
        )
    cells: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        cells.setdefault(row.get("cell") or "", []).append(row)
    try:
        outcomes = [_outcome(group) for group in cells.values()]
    except (KeyError, ValueError, TypeError, ConfigError) as error:
        raise ConfigError(f"{path} is not a sweep's results: {error}; choose another --out") from error
    return [outcome for outcome in outcomes if len(outcome.peers) == outcome.cell.rows]


def _outcome(rows: list[dict[str, str]]) -> Outcome:
    first = rows[0]
    tables: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, (section, f) in _SETTINGS.items():
        text = first.get(name) or EARLIER.get(name)
        if text:
            tables[section][name] = _parsed(setting_type(f), text)
    peers = {peer.id: peer for peer in map(_peer, rows)}
    if first["kind"] not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {first['kind']}")
    return Outcome(
        cell=Cell(first["kind"], from_mapping(tables)),
        peers=tuple(peer for _, peer in sorted(peers.items())),
        seconds=float(first["seconds"]),
        processor=first.get("processor") or "",
    )


def _parsed(kind: type, text: str) -> Any:
    return text == "True" if kind is bool else kind(text)


def _peer(row: dict[str, str]) -> PeerSummary:
    return PeerSummary(
        id=int(row["client"]),
        accuracy=_number(row["accuracy"]),
        own_accuracy=_number(row["own_accuracy"]),
        steps=int(row["steps"]),
        head_accuracies=tuple(float(each) for each in row["head_accuracies"].split()),
        evaluation_samples=int(row["evaluation_samples"]),
        private_samples=int(row["private_samples"]),
        bytes_sent=int(row["bytes_sent"]),
        weights_sha256=row["weights_sha256"],
        liar=row.get("liar") == "True",  # missing in older files, from before there were liars
    )


def _number(text: str) -> float | None:
    """Parse an accuracy; None: the client was off for good before its last step."""
    return float(text) if text else None


def _rows(outcome: Outcome) -> Iterable[list[str]]:
    config = outcome.cell.config
    settings = {name: value for table in to_mapping(config).values() for name, value in table.items()}
    shared = {**settings, "cell": outcome.cell.name, "kind": outcome.cell.kind, "split": split_name(config)}
    for peer in outcome.peers:
        own = {
            "client": peer.id,
            "liar": peer.liar,
            "accuracy": "" if peer.accuracy is None else peer.accuracy,
            "own_accuracy": "" if peer.own_accuracy is None else peer.own_accuracy,
            "head_accuracies": " ".join(str(each) for each in peer.head_accuracies),
            "evaluation_samples": peer.evaluation_samples,
            "private_samples": peer.private_samples,
            "bytes_sent": peer.bytes_sent,
            "seconds": round(outcome.seconds, 1),
            "processor": outcome.processor,
            "weights_sha256": peer.weights_sha256,
        }
        yield [str({**shared, **own}.get(name, "")) for name in COLUMNS]


def _bytes(rows: Iterable[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")  # a path need not be valid UTF-8
