"""Differences, by seed, between cells that are equal except for one setting, and the noise."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from edgekd.lab.findings.cells import Key, Value, by_kind, key, mean_accuracy, seed_of, settings
from edgekd.lab.findings.results import Baselines
from edgekd.lab.findings.stats import MIN_SEEDS, Scatter, scatter
from edgekd.lab.sweep.records import Outcome

Pairs = dict[Key, dict[int, float]]  # kind (all settings but the seed and the compared one) -> seed -> difference


def scatter_of(outcomes: Iterable[Outcome], value: Value) -> Scatter:
    """The scatter of a value over the seeds of one cell, pooled over the cells."""
    return scatter([[value(o) for o in group] for group in by_kind(outcomes).values()])


def contrasts(
    outcomes: Iterable[Outcome], setting: str, value: Value, formula: Callable[[dict[Any, float]], float]
) -> Pairs:
    """Combine the values of cells that differ only in one setting.

    Args:
        outcomes: cells, none of them a baseline.
        setting: the compared setting.
        value: a function that returns the value of a cell.
        formula: a function from {value of the setting: value of the cell} to a number; it raises KeyError if it needs a
            cell that is missing, and then this pair is left out.
    """
    alike: dict[tuple[Key, int], dict[Any, float]] = defaultdict(dict)
    for outcome in outcomes:
        config = outcome.cell.config
        alike[key(config, "seed", setting), seed_of(outcome)][settings(config)[setting]] = value(outcome)
    pairs: Pairs = defaultdict(dict)
    for (kind, seed), values in alike.items():
        try:
            pairs[kind][seed] = formula(values)
        except KeyError:
            continue
    return pairs


def balanced(pairs: Pairs) -> Pairs:
    """Choose as many kinds and seeds as possible such that every kind has every seed, if possible three seeds or more.

    An unfinished sweep lacks some cells. Means over kinds can be compared between seeds only if no kind is missing.
    """

    def rank(seeds: frozenset[int]) -> tuple[bool, int, int]:
        kinds = sum(seeds <= by_seed.keys() for by_seed in pairs.values())
        return len(seeds) >= MIN_SEEDS, kinds * len(seeds), len(seeds)

    candidates = {frozenset(by_seed) for by_seed in pairs.values()}
    candidates |= {first & second for first in candidates for second in candidates}
    chosen = max(candidates, key=lambda seeds: (*rank(seeds), sorted(seeds, reverse=True)), default=frozenset())
    return {
        kind: {seed: by_seed[seed] for seed in sorted(chosen)}
        for kind, by_seed in pairs.items()
        if chosen and chosen <= by_seed.keys()
    }


def gains(outcomes: Iterable[Outcome], baselines: Baselines) -> Pairs:
    """The mean accuracy minus that of the same clients alone, with the same balance."""
    pairs: Pairs = defaultdict(dict)
    for outcome in outcomes:
        alone = baselines.alone(outcome.cell.config)
        if alone is not None:
            pairs[key(outcome.cell.config, "seed")][seed_of(outcome)] = mean_accuracy(outcome) - mean_accuracy(alone)
    return pairs
