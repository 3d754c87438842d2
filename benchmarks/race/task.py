"""What the processes of a run are told. It imports no torch, so that the command starts at once."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What every process of a run is told, in ``task.json`` of the run's folder."""

    folder: str  # of the run: every node writes node-ID.jsonl there
    tables: dict[str, Any]  # edgekd's settings [model] and [train], without the data
    shards: str  # the folder that `edgekd split` wrote
    nodes: int
    addresses: tuple[str, ...]  # HOST:PORT of each node; of the coordinator, too, if there is one
    seed: int
    epoch: int  # steps of a local epoch
    local_epochs: int = 1  # between two averages
    balanced: bool = False  # balanced softmax, as edgekd has it
    proximal: float = 0.0  # FedProx's mu

    @property
    def steps(self) -> int:
        return int(self.tables["train"]["steps"])

    @property
    def steps_a_round(self) -> int:
        return self.epoch * self.local_epochs

    @property
    def rounds(self) -> int:
        """Rounds of training and averaging; the last one may be shorter."""
        return -(-self.steps // self.steps_a_round)

    def steps_of(self, round: int) -> range:
        """The steps of a round, counted from 0."""
        first = round * self.steps_a_round
        return range(first, min(self.steps, first + self.steps_a_round))

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> "Task":
        read = json.loads(path.read_text())
        return cls(**{**read, "addresses": tuple(read["addresses"])})
