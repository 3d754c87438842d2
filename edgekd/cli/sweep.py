"""``edgekd sweep``: runs a grid of simulations."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from edgekd.cli.grouped import GroupedCommand
from edgekd.cli.lines import say
from edgekd.cli.options import PATH, OneOf, grid_settings
from edgekd.config import UNSWEPT
from edgekd.errors import EdgeKDError
from edgekd.printable import printable
from edgekd.workers import at_once

EXAMPLES = """
\b
Examples:
  edgekd sweep --measure kl,sed --alpha 0.2,0.5,0.8 --split iid,gamma:15 --seed 0,1,2 --baseline --out results
  edgekd sweep --config experiment.toml --out results --jobs 4
  edgekd report results --out report
"""

FIRST = ("out", "measure", "alpha", "combine", "split", "seed", "data", "baseline", "jobs", "config")  # in --help


class CellsFailedError(EdgeKDError):
    """Some cells (single simulations) of the sweep have failed; the results of the others are written."""


@click.command(cls=GroupedCommand, first=FIRST, epilog=EXAMPLES)
@grid_settings("data", "distill", "model", "train", "exchange", "simulation", without=UNSWEPT)
@click.option(
    "--out", type=PATH, required=True, metavar="DIR", help="Folder of the results; earlier results in it are kept."
)
@click.option(
    "--baseline", is_flag=True, help="Also train each client alone, and one model on all shards, once for each seed."
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    metavar="N",
    help="Cells that run at the same time.  [default: as cores allow]",
)
@click.option("--engine", type=OneOf(["local", "ray"]), default="local", show_default=True, help="What runs the cells.")
def command(tables: dict[str, Any], out: Path, baseline: bool, jobs: int | None, engine: str) -> None:
    """Simulate every combination of settings: each flag takes a list, and the file may have [[grid]] tables.

    Cells whose results are in DIR are not run again, so an interrupted sweep continues where it stopped.
    """
    from edgekd.cli.signals import end_stopped, stoppable
    from edgekd.files.runs import run_folder
    from edgekd.lab.sweep.grid import configs, plan
    from edgekd.lab.sweep.run import check

    cells = plan(list(configs(tables)), baseline=baseline)
    check(cells)
    try:
        with stoppable(), run_folder(out, "sweep"):
            _sweep(cells, tables, out, jobs, engine)
    except KeyboardInterrupt:
        end_stopped("stopped; the same command goes on where it was")


def _sweep(cells: list[Any], tables: dict[str, Any], out: Path, jobs: int | None, engine: str) -> None:
    from edgekd.lab.sweep.engines import local, ray_cluster
    from edgekd.lab.sweep.named_files import check_unchanged
    from edgekd.lab.sweep.run import missing, sweep

    left = missing(cells, out)
    check_unchanged(left, out)
    _write_tables(tables, out)
    threads = max(cell.config.threads for cell in cells)
    count = jobs or at_once(threads)
    runner = ray_cluster() if engine == "ray" else local(count)
    with _progress(cells, left, None if engine == "ray" else count) as show:
        failures = sweep(left, out, runner, show)
    files = ", ".join(name for name in ("results.csv", "baselines.csv") if (out / name).exists())
    say(f"{len(cells) - len(failures)} of {len(cells)} cells are in {out}" + (f" ({files})" if files else ""))
    if failures:
        reasons = {failure.reason for failure in failures}
        more = f": {reasons.pop()}" if len(reasons) == 1 else "; the same command tries again"
        raise CellsFailedError(f"{len(failures)} of {len(cells)} cells failed{more}")


@contextmanager
def _progress(cells: list[Any], left: list[Any], at_once: int | None) -> Iterator[Callable[[Any], None]]:
    """Show a bar with the time left, or a line for each cell if stderr is no terminal.

    Yields a function to call with each result.
    """
    from rich.progress import MofNCompleteColumn, TimeElapsedColumn

    from edgekd.cli.bars import LeftColumn, bars, drawn, stderr_console, terminal_may_go
    from edgekd.lab.sweep.pace import Pace
    from edgekd.lab.sweep.run import Failure, labels
    from edgekd.protocol.amounts import duration

    total, label = len(cells), labels(cells)
    told: set[str] = set()  # reasons of failures that were printed
    console, pace = stderr_console(), Pace(left, at_once)
    bar = bars(console, MofNCompleteColumn(), TimeElapsedColumn(), LeftColumn(pace.seconds_left))
    with drawn(bar):
        task = bar.add_task(f"{total} cells", total=total, completed=total - len(left))
        began = time.monotonic()

        def show(result: Any) -> None:
            bar.advance(task)
            pace.note(result)
            if isinstance(result, Failure):
                reason = "the same" if result.reason in told else result.reason
                told.add(result.reason)
                print_line(f"failed: {label[result.cell]}: {reason}")
            elif bar.disable:
                rest = duration(pace.seconds_left(time.monotonic() - began))
                print_line(f"{int(bar.tasks[0].completed)}/{total} cells, about {rest} left: {label[result.cell]}")

        def print_line(text: str) -> None:
            with terminal_may_go():
                console.print(printable(text), highlight=False, soft_wrap=True, markup=False)

        yield show


def _write_tables(tables: dict[str, Any], out: Path) -> None:
    """Write the settings to ``sweep.toml``; for further sweeps in the same folder to ``sweep-2.toml`` and so on."""
    import tomli_w

    content = tomli_w.dumps(tables).encode(errors="surrogateescape")  # a path need not be UTF-8
    number = 1
    while (path := out / ("sweep.toml" if number == 1 else f"sweep-{number}.toml")).exists():
        if path.read_bytes() == content:
            return
        number += 1
    path.write_bytes(content)
