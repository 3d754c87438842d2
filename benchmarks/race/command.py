"""The command line of the race."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import click

from race import plans
from race.boxes import why_no_boxes
from race.plot import draw
from race.rows import CurvePoint, Row, read_rows, write_csv
from race.runs import Lab, Run
from race.settings import DIGITS, SMALL, Setting, cifar10
from race.systems import SYSTEMS
from race.table import markdown
from race.venvs import HERE, InstallError

PARTS = ("tuning", "core", "faults", "growing")  # in this order, if all are run
FREE = 0.1  # share of the machine that is left to what samples the boxes


@click.command()
@click.argument("part", type=click.Choice([*PARTS, "all"]), default="core")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/race"), help="Shards and raw files.")
@click.option("--venvs", type=click.Path(path_type=Path), help="Folder of the environments; default: OUT/venvs.")
@click.option("--results", type=click.Path(path_type=Path), default=HERE / "results", help="CSV, table and plot.")
@click.option("--only", help="Systems, separated by commas; default: all.")
@click.option("--setting", "names", default="digits", help="digits, small, cifar10, separated by commas.")
@click.option("--pictures", type=click.Path(path_type=Path), help="CIFAR-10 as a folder with a subfolder a class.")
@click.option("--weights", type=click.Path(path_type=Path), help="Pretrained weights of ResNet18, for cifar10.")
@click.option("--seeds", default=",".join(map(str, plans.SEEDS)), help="Separated by commas.")
@click.option("--steps", type=int, help="Gradient steps of a node; default: the setting's.")
@click.option("--cores", type=float, help="CPU quota of a box; default: one core, less where there are too few.")
@click.option("--limit", type=float, default=3600.0, help="Seconds after which a run is stopped.")
def main(
    part: str,
    out: Path,
    venvs: Path | None,
    results: Path,
    only: str | None,
    names: str,
    pictures: Path | None,
    weights: Path | None,
    seeds: str,
    steps: int | None,
    cores: float | None,
    limit: float,
) -> None:
    """Run a part of the race, and write its CSV, table and plot. Runs that have a result are not made again."""
    if why := why_no_boxes():
        raise click.ClickException(f"the race needs boxes, and this machine cannot make them: {why}")
    whos = _known(only.split(",") if only else list(SYSTEMS), list(SYSTEMS))
    settings = [_setting(name, pictures, weights, steps) for name in names.split(",")]
    numbers = [int(seed) for seed in seeds.split(",")]
    out = out.resolve()
    results.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the boxes are removed, then, too
    for each in PARTS if part == "all" else (part,):
        most = max(plans.NODES) if each == "growing" else 3
        share = cores or min(1.0, (os.cpu_count() or 1) * (1 - FREE) / most)
        lab = Lab(out=out, venvs=(venvs or out / "venvs").resolve(), cores=share, limit=limit)
        began = time.monotonic()
        _make(_plan(each, lab, whos, settings, numbers, steps), lab, results, each)
        click.echo(f"{each}: {(time.monotonic() - began) / 60:.1f} minutes")


def _known(asked: list[str], known: list[str]) -> list[str]:
    for who in asked:
        if who not in known:
            raise click.ClickException(f"unknown system {who}; known: {', '.join(known)}")
    return [who for who in known if who in asked]


def _setting(name: str, pictures: Path | None, weights: Path | None, steps: int | None) -> Setting:
    if name == "cifar10":
        if pictures is None or weights is None:
            raise click.ClickException("cifar10 needs --pictures FOLDER and --weights FILE")
        found = cifar10(pictures.resolve(), weights.resolve())
    elif name in ("digits", "small"):
        found = DIGITS if name == "digits" else SMALL
    else:
        raise click.ClickException(f"unknown setting {name}; known: digits, small, cifar10")
    return found.with_steps(steps) if steps else found


def _plan(
    part: str, lab: Lab, whos: list[str], settings: list[Setting], seeds: list[int], steps: int | None
) -> Iterable[Run]:
    if part == "core":
        return plans.core(lab, whos, settings, seeds)
    if part == "tuning":
        return [run for setting in settings for who in whos for run in plans.tuning(who, setting)]
    if part == "faults":
        return (run for setting in settings for run in plans.faults(lab, whos, setting, seeds))
    return plans.growing(whos, seeds, steps)


def _make(runs: Iterable[Run], lab: Lab, results: Path, part: str) -> None:
    """Make the runs, and write all results after each one, so that an end in the middle loses nothing."""
    rows: list[Row] = []
    curve: list[CurvePoint] = []
    for run in runs:
        click.echo(f"{time.strftime('%H:%M:%S')} {run.name}")
        try:
            found = lab.result(run)
        except InstallError as error:
            raise click.ClickException(f"the environment with torch cannot be made: {error}") from error
        except subprocess.CalledProcessError as error:
            raise click.ClickException(f"`edgekd split` has failed with exit code {error.returncode}") from error
        rows += [Row(**row) for row in found["rows"]]
        curve += [CurvePoint(**point) for point in found["curve"]]
        write_csv(results / f"{part}.csv", Row, rows)
        write_csv(results / f"{part}-curves.csv", CurvePoint, curve)
        (results / f"{part}.md").write_text(markdown(read_rows(results / f"{part}.csv"), curve))
    draw(curve, results / f"{part}.svg")
    click.echo((results / f"{part}.md").read_text() if rows else "no runs")
