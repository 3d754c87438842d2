"""Shows how single factors change the accuracy of the new default of experiments/gap.md, and of the control.

    python benchmarks/gap_factors.py [--results experiments/results]

Prints Markdown from the stored cells: ingredients added one at a time to the control and removed one at a time from the
new default; liars, speeds, horizons, the number of peers, other shards. A difference is that between a cell and its
reference, paired by seed; brackets are 95 % intervals. Cells that are not measured yet are left out.
"""

import argparse
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from gap import BALANCED, CONTROL, DATA, LONE, NEW, POOLED, arm, interval, mean, share

from edgekd.config import Config
from edgekd.lab.findings.cells import data_name, mean_accuracy, seed_of, settings
from edgekd.lab.findings.stats import paired
from edgekd.lab.sweep.records import ALONE, Outcome, read_outcomes

IGNORED = ("seed", "head_layers")  # settings that do not make another row of a table


@dataclass(frozen=True, slots=True)
class Row:
    """The cells with the same settings and different seeds."""

    config: Config  # of one of the cells
    accuracy: dict[int, float]  # mean over the peers, by seed
    bytes_sent: float  # by one peer, the mean


def rows(outcomes: Iterable[Outcome], worth: Callable[[Outcome], float] = mean_accuracy) -> list[Row]:
    """Make one row for each combination of settings, in the order of the file; `worth` gives the accuracy of a cell."""
    kinds: dict[object, list[Outcome]] = {}
    for outcome in outcomes:
        config = outcome.cell.config
        kinds.setdefault(tuple((k, v) for k, v in settings(config).items() if k not in IGNORED), []).append(outcome)
    return [
        Row(
            cells[0].cell.config,
            {seed_of(each): worth(each) for each in cells},
            statistics.fmean(peer.bytes_sent for each in cells for peer in each.peers),
        )
        for cells in kinds.values()
    ]


def label(config: Config, base: Config) -> str:
    """The settings in which a cell differs from its reference, as text."""
    own, other = settings(config), settings(base)
    names = [name for name in own if own[name] != other[name] and name not in IGNORED]
    changed = [f"no {name}" if own[name] is None else f"{name} {own[name]}" for name in names]
    return ", ".join(changed) or "the reference itself"


def against(base: Row, others: Iterable[Row]) -> list[str]:
    """A table of rows and their differences from the reference `base`."""
    lines = [
        "| what differs | seeds | accuracy | difference | sent by a peer |",
        "| --- | ---: | ---: | ---: | ---: |",
        f"| the reference | {len(base.accuracy)} | {mean(base.accuracy)} | | {base.bytes_sent / 1e3:.0f} kB |",
    ]
    for row in others:
        pair = paired(row.accuracy, base.accuracy)
        lines.append(
            f"| {label(row.config, base.config)} | {pair.n} | {mean(row.accuracy)} | {interval(pair)} | "
            f"{row.bytes_sent / 1e3:.0f} kB |"
        )
    return lines


def primary_row(results: Path, data: str, wanted: str) -> Row | None:
    """The row of the new default or of the control in the primary comparison, for one data set; None: no cells."""
    cells = [each for each in read_outcomes(results / "gap-report") if data_name(each.cell.config) == data]
    found = rows(each for each in cells if arm(each) == wanted)
    return found[0] if found else None


def factor(results: Path, folder: str, wanted: str) -> list[str]:
    """Compare the cells of a folder with those of the primary comparison: one table for each data set."""
    lines: list[str] = []
    for data in DATA:
        base = primary_row(results, data, wanted) if (results / "gap-report").is_dir() else None
        others = rows(
            each
            for each in read_outcomes(results / folder)
            if data_name(each.cell.config) == data and each.cell.kind != ALONE
        )
        if base is not None and others:
            lines += ["", f"{data}:", "", *against(base, others)]
    return lines


def last_off(outcome: Outcome) -> float:
    """The mean accuracy of all peers but the last, which is the liar, or is switched off in the reference."""
    return statistics.fmean(peer.accuracy for peer in outcome.peers[:-1] if peer.accuracy is not None)


def liars(results: Path) -> list[str]:
    """Compare the honest peers of each group with the same peers when the last box is switched off."""
    lines: list[str] = []
    outcomes = read_outcomes(results / "gap-liars")
    for clients in sorted({each.cell.config.data.clients for each in outcomes}):
        found = rows((each for each in outcomes if each.cell.config.data.clients == clients), last_off)
        base = next((row for row in found if row.config.simulation.down), None)
        if base is not None:
            others = [row for row in found if row is not base]
            lines += ["", f"{clients} peers, of which the last is off in the reference:", "", *against(base, others)]
    return lines


def gaps(results: Path, folder: str) -> list[str]:
    """A table of the baselines, the accuracy together and the gap closed, for each setting of a folder."""
    lines = ["| setting | alone | alone, balanced | together | pooled | gap closed from balanced |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    places: dict[tuple[object, ...], dict[str, dict[int, float]]] = {}
    for kind, row in _arms([results / name for name in ("gap-report", "gap-report-baselines", folder)]):
        # Pooled is one model on all shards, so it belongs to every group with the same number of steps.
        shards = () if kind == POOLED else _shards(row.config)
        places.setdefault((f"{row.config.steps} steps", *shards), {})[kind] = row.accuracy
    for place, found in places.items():
        if NEW in found:
            arms = {POOLED: places.get(place[:1], {}).get(POOLED, {}), **found}
            cells = [mean(arms.get(name, {})) for name in (LONE, BALANCED, NEW, POOLED)]
            lines.append(
                f"| {', '.join(map(str, place))} | {' | '.join(cells)} | {share(arms, NEW, BALANCED, POOLED)} |"
            )
    return lines


def _shards(config: Config) -> tuple[object, ...]:
    split = f"dirichlet {config.data.dirichlet:g}" if config.data.dirichlet is not None else "gamma 15"
    return f"{config.data.clients} peers", split, config.exchange.topology


def _arms(folders: Iterable[Path]) -> list[tuple[str, Row]]:
    cells = [each for folder in folders for each in read_outcomes(folder) if data_name(each.cell.config) == "cifar10"]
    return [(kind, row) for kind in (LONE, BALANCED, NEW, POOLED) for row in rows(o for o in cells if arm(o) == kind)]


SECTIONS: tuple[tuple[str, str, Callable[[Path], list[str]]], ...] = (
    ("Added to the control, one at a time", "gap-additions", lambda at: factor(at, "gap-additions", CONTROL)),
    ("Removed from the new default, one at a time", "gap-removals", lambda at: factor(at, "gap-removals", NEW)),
    ("Liars", "gap-liars", liars),
    ("Speeds, against lockstep", "gap-speeds", lambda at: factor(at, "gap-speeds", NEW)),
    ("Horizons", "gap-horizons", lambda at: gaps(at, "gap-horizons")),
    ("Number of peers", "gap-peers", lambda at: gaps(at, "gap-peers")),
    ("Other shards", "gap-splits", lambda at: gaps(at, "gap-splits")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("experiments/results"))
    at = parser.parse_args().results
    for title, folder, table in SECTIONS:
        if (at / folder).is_dir():
            print(f"## {title}\n", *table(at), "", sep="\n")


if __name__ == "__main__":
    main()
