"""Running the cells of a sweep that are not finished yet; each is written to disk as soon as it is finished."""

import functools
import platform
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from edgekd.config import DataConfig
from edgekd.data.datasets import PeerData, load_group
from edgekd.errors import ConfigError, EdgeKDError
from edgekd.files.summary import PeerSummary
from edgekd.lab.findings.cells import settings, varied_settings
from edgekd.lab.sweep.records import KINDS, POOLED, Cell, Outcome, append_outcome, read_outcomes, tidy
from edgekd.learning.devices import choose_device
from edgekd.simulation.groups import simulate_group, simulate_pooled
from edgekd.simulation.stand_in import MODEL


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell that ended with an error; the next start of the sweep tries it again."""

    cell: Cell
    reason: str  # one line of text


Result = Outcome | Failure
# A function that runs cells in parallel and yields each result as soon as it is there, in any order.
Engine = Callable[[Sequence[Cell]], Generator[Result, None, None]]


def run_cell(cell: Cell) -> Result:
    """Simulate one cell in this process. Its learners run one after another, since cells run in parallel."""
    began = time.monotonic()
    try:
        torch.set_num_threads(cell.config.threads)
        if cell.kind == POOLED:
            peers: tuple[PeerSummary, ...] = (simulate_pooled(cell.config),)
        else:
            peers = simulate_group(_group(cell.config.data, cell.config.data_seed), cell.config).peers
    except EdgeKDError as error:
        return Failure(cell, str(error))
    except Exception as error:  # a bug, or out of memory: the other cells go on
        return Failure(cell, f"{type(error).__name__}: {error}")
    if all(peer.accuracy is None for peer in peers if not peer.liar):
        return Failure(cell, "no honest client did all of its steps: see --down")
    return Outcome(cell, peers, time.monotonic() - began, _processor(cell.config.train.device))


def _processor(device: str) -> str:
    found = choose_device(device)
    return torch.cuda.get_device_name(found) if found.type == "cuda" else f"{found.type}, {platform.machine()}"


def sweep(
    cells: Iterable[Cell], folder: Path, engine: Engine, report: Callable[[Result], None] = lambda result: None
) -> list[Failure]:
    """Run the cells that are missing in `folder`, write each to disk when it is finished, and return the failures.

    Args:
        cells: the cells of the sweep.
        folder: the folder of results.
        engine: runs the cells.
        report: is called with each result.

    Raises:
        ConfigError: the folder contains something else.
        OSError: the folder cannot be written.
    """
    failures = []
    with closing(engine(missing(cells, folder))) as results:  # an interrupt ends the running cells
        for result in results:
            if isinstance(result, Failure):
                failures.append(result)
            else:
                append_outcome(folder, result)
            report(result)
    return failures


def missing(cells: Iterable[Cell], folder: Path) -> list[Cell]:
    """The cells that are missing in `folder`; incomplete rows of a killed sweep are removed first.

    Raises:
        ConfigError: the folder contains something else.
        OSError: the folder cannot be written.
    """
    tidy(folder)
    done = {outcome.cell for outcome in read_outcomes(folder)}
    return [cell for cell in cells if cell not in done]


@functools.lru_cache(maxsize=2)  # the cells of one seed follow one another and share their data
def _group(config: DataConfig, seed: int) -> dict[int, PeerData]:
    return dict(enumerate(load_group(config, seed)))


def labels(cells: Sequence[Cell]) -> dict[Cell, str]:
    """A label for each cell: its kind, its name, and the settings in which the cells of its kind differ."""
    found = {}
    for kind in KINDS:
        group = [cell for cell in cells if cell.kind == kind]
        varied = varied_settings([cell.config for cell in group], seed=True)
        for cell in group:
            said = ", ".join(f"{name} {settings(cell.config)[name]}" for name in varied)
            found[cell] = f"{kind} {cell.name}" + (f": {said}" if said else "")
    return found


def check(cells: Sequence[Cell]) -> None:
    """Check that a sweep can be run with these cells.

    Raises:
        ConfigError: there is no cell, or a cell trains without end or learns nothing.
    """
    if not cells:
        raise ConfigError("there is no cell to run; at alpha 1 nobody teaches anybody: add other alphas, or --baseline")
    if any(cell.config.model.model == MODEL for cell in cells):
        raise ConfigError(
            f"model {MODEL} learns nothing, so there is no accuracy to sweep; use it in `edgekd simulate`"
        )
    if any(cell.config.steps == 0 for cell in cells):
        raise ConfigError("steps 0 trains without end, which only `edgekd peer` and `edgekd run` can; choose --steps")
