"""Compares the new default of experiments/gap.md with the control, and computes how much of the gap is closed.

    python benchmarks/gap.py [--results experiments/results]

The gap is the one between the accuracy of a peer alone and that of one model on all data. Prints Markdown from the
stored cells of gap-report, gap-digits-report and gap-report-baselines: the primary comparison with its verdicts, and
the share of the gap closed, measured from "alone, balanced" and from "alone". Differences are paired by seed; brackets
are 95 % intervals. Cells that are not measured yet are left out.
"""

import argparse
from pathlib import Path

from edgekd.lab.findings.cells import data_name, mean_accuracy, seed_of
from edgekd.lab.findings.stats import ACCURACY, MIN_SEEDS, Comparison, compare, holm, paired, ratio
from edgekd.lab.sweep.records import ALONE, Outcome, read_outcomes

MARGIN = ACCURACY.margin
FOLDERS = ("gap-report", "gap-digits-report", "gap-report-baselines")
NEW, CONTROL, LONE, BALANCED, POOLED, OWN = "new", "control", "alone", "balanced", "pooled", "pooled, own batch"
HEAD_ROWS = 2  # of a table in Markdown
DATA = ("cifar10", "sun15", "digits")


def arm(outcome: Outcome) -> str:
    """The arm of experiments/gap.md (new default, control or a baseline) to which a cell (one simulation) belongs."""
    config = outcome.cell.config
    if outcome.cell.kind != ALONE:
        return NEW if config.distill.combine == "agreement" else CONTROL
    if config.data.clients == 1:
        return POOLED if config.batch > 64 else OWN
    return BALANCED if config.distill.balance == "on" else LONE


def by_arm(folders: list[Path]) -> dict[str, dict[str, dict[int, float]]]:
    """The mean accuracy of each cell, by data set, arm and seed."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for folder in folders:
        for outcome in read_outcomes(folder):
            arms = found.setdefault(data_name(outcome.cell.config), {})
            arms.setdefault(arm(outcome), {})[seed_of(outcome)] = mean_accuracy(outcome)
    return found


def above(found: Comparison, margin: float) -> float:
    """The p value of the one-sided t test that a difference is above `margin`."""
    shifted = Comparison(found.effect - margin, found.error, found.n)
    return shifted.p / 2 if shifted.effect > 0 else 1 - shifted.p / 2


def primary(found: dict[str, dict[str, dict[int, float]]]) -> list[str]:
    """A table of the new default minus the control, with Holm's correction over the data sets."""
    pairs = {data: paired(found[data].get(NEW, {}), found[data].get(CONTROL, {})) for data in DATA if data in found}
    pairs = {data: pair for data, pair in pairs.items() if pair.n >= MIN_SEEDS}
    corrected = dict(zip(pairs, holm([above(pair, MARGIN) for pair in pairs.values()]), strict=True))
    rows = [
        f"| {data} | {pair.n} | {mean(found[data].get(CONTROL, {}))} | {mean(found[data].get(NEW, {}))} | "
        f"{interval(pair)} | {corrected[data]:.4f} | {'yes' if pair.low > MARGIN else 'no'} |"
        for data, pair in pairs.items()
    ]
    head = "| data | seeds | control | new default | gain | p that it is at most 0.02, by Holm | above 0.02? |"
    return [head, "| --- | ---: | ---: | ---: | ---: | ---: | --- |", *rows]


def closed(found: dict[str, dict[str, dict[int, float]]]) -> list[str]:
    """A table of the share of the gap between alone and pooled that is closed, over the seeds that all arms have."""
    head = "| data | arm | from alone, balanced | from alone | the first, to pooled at a peer's own batch |"
    rows = [head, "| --- | --- | ---: | ---: | ---: |"]
    for data in (data for data in DATA if BALANCED in found.get(data, {})):
        arms = found[data]
        for each in (CONTROL, NEW):
            cells = [
                share(arms, each, base, top) for base, top in ((BALANCED, POOLED), (LONE, POOLED), (BALANCED, OWN))
            ]
            rows.append(f"| {data} | {each} | {' | '.join(cells)} |")
    return rows


def baselines(found: dict[str, dict[str, dict[int, float]]]) -> list[str]:
    """A table of the mean accuracies of the baselines."""
    rows = [f"| data | {' | '.join((LONE, BALANCED, OWN, POOLED))} |", "| --- | ---: | ---: | ---: | ---: |"]
    for data in (data for data in DATA if not found.get(data, {}).keys().isdisjoint((LONE, BALANCED, OWN, POOLED))):
        rows.append(
            f"| {data} | {' | '.join(mean(found[data].get(arm, {})) for arm in (LONE, BALANCED, OWN, POOLED))} |"
        )
    return rows


def share(arms: dict[str, dict[int, float]], arm: str, base: str, top: str) -> str:
    """The share of the way from `base` to `top` that `arm` has reached, with its interval, as text."""
    wanted = [arms.get(name, {}) for name in (arm, base, top)]
    seeds = sorted(set.intersection(*(set(values) for values in wanted)))
    parts = [wanted[0][seed] - wanted[1][seed] for seed in seeds]
    found = ratio(parts, [wanted[2][seed] - wanted[1][seed] for seed in seeds])
    return "-" if found is None else interval(found, signed=False)


def mean(values: dict[int, float]) -> str:
    """The mean over the seeds with its standard error, as text; "-" for no values."""
    if not values:
        return "-"
    found = compare(list(values.values()))
    return f"{found.effect:.3f}" + (f" ± {found.error:.3f}" if found.n > 1 else "")


def interval(found: Comparison, *, signed: bool = True) -> str:
    """A mean with its 95 % interval, as text; without the interval if there are too few seeds."""
    form = "+.3f" if signed else ".2f"
    if found.n < MIN_SEEDS:
        return f"{found.effect:{form}}" if found.n else "-"
    return f"{found.effect:{form}} [{found.low:{form}}, {found.high:{form}}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("experiments/results"))
    given = parser.parse_args()
    found = by_arm([given.results / name for name in FOLDERS if (given.results / name).is_dir()])
    tables = (primary(found), baselines(found), closed(found))
    print("\n\n".join("\n".join(rows) for rows in tables if len(rows) > HEAD_ROWS))


if __name__ == "__main__":
    main()
