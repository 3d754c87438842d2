"""All finished cells in the folders of some sweeps, and the baselines that belong to each cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd.config import Config
from edgekd.errors import ConfigError
from edgekd.lab.sweep.records import ALONE, POOLED, TOGETHER, Cell, Outcome, read_outcomes
from edgekd.simulation.groups import lone


@dataclass(frozen=True, slots=True)
class Results:
    """Finished cells, each once, in an order that does not depend on the files."""

    together: tuple[Outcome, ...]
    alone: tuple[Outcome, ...]
    pooled: tuple[Outcome, ...]
    folders: Mapping[str, tuple[Outcome, ...]]  # folder name -> the cells in this folder
    poisoned: tuple[Outcome, ...] = ()  # cells with liars, which have tables of their own


def read_results(folders: Sequence[Path]) -> Results:
    """Read the cells of all folders; if several folders have a cell, the first folder's is used.

    Raises:
        ConfigError: a folder does not exist or holds no finished cell, or there are only baselines or cells with liars.
    """
    found: dict[str, Outcome] = {}
    held: dict[str, tuple[Outcome, ...]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"there is no folder {folder}; name one that `edgekd sweep --out DIR` has filled")
        outcomes = read_outcomes(folder)
        if not outcomes:
            raise ConfigError(f"no finished cell is in {folder}; fill it with `edgekd sweep --out {folder}` first")
        for outcome in outcomes:
            found.setdefault(outcome.cell.name, outcome)
        name = folder.resolve().name if folder.resolve().name not in held else str(folder)
        held[name] = tuple(sorted(outcomes, key=lambda outcome: outcome.cell.name))
    ordered = [found[name] for name in sorted(found)]
    kinds = {kind: tuple(o for o in ordered if o.cell.kind == kind) for kind in (TOGETHER, ALONE, POOLED)}
    honest = tuple(o for o in kinds[TOGETHER] if not o.cell.config.exchange.liars)
    poisoned = tuple(o for o in kinds[TOGETHER] if o.cell.config.exchange.liars)
    if not honest and poisoned:
        raise ConfigError("only cells with liars are in these folders; let `edgekd sweep` run them with --liars 0 too")
    if not honest:
        raise ConfigError("only baselines are in these folders; let `edgekd sweep` run cells with alpha below 1 too")
    return Results(honest, kinds[ALONE], kinds[POOLED], held, poisoned)


class Baselines:
    """Finds the lone and pooled runs that belong to a cell: with the same data, training, network and seed.

    Args:
        results: the cells of all folders.
        folder: a folder whose own baselines are preferred, since its cells ran next to them.
    """

    def __init__(self, results: Results, folder: str | None = None) -> None:
        self._found = {outcome.cell: outcome for outcome in (*results.alone, *results.pooled)}
        if folder is not None:
            self._found |= {outcome.cell: outcome for outcome in results.folders[folder]}

    def alone(self, config: Config, balance: str | None = None) -> Outcome | None:
        """The clients alone, with this balance, or with the cell's own one if it is None; None if it was not run."""
        return self._found.get(Cell(ALONE, lone(config, balance=balance or config.distill.balance)))

    def pooled(self, config: Config) -> Outcome | None:
        """One model on all shards; None if it was not run."""
        return self._found.get(Cell(POOLED, lone(config, balance="off")))

    def both(self, config: Config) -> tuple[Outcome, Outcome] | None:
        """Alone and pooled, both without balance; None if one of them was not run."""
        alone, pooled = self.alone(config, "off"), self.pooled(config)
        return (alone, pooled) if alone and pooled else None
