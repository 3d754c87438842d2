"""Differences between cells that are equal but for one thing, by seed, and the noise beside them."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from edgekd.lab.findings.cells import Key, Value, by_kind, key, mean_accuracy, seed_of, settings
from edgekd.lab.findings.results import Baselines
from edgekd.lab.findings.stats import MIN_SEEDS, Scatter, scatter
from edgekd.lab.sweep.records import Outcome

Pairs = dict[Key, dict[int, float]]  # differences by kind (all settings but the seed and those compared), then seed


def scatter_of(outcomes: Iterable[Outcome], value: Value) -> Scatter:
    """How a value scatters over the seeds of one and the same cell, pooled over the cells."""
    return scatter([[value(o) for o in group] for group in by_kind(outcomes).values()])


def contrasts(
    outcomes: Iterable[Outcome], setting: str, value: Value, formula: Callable[[dict[Any, float]], float]
) -> Pairs:
    """What `formula` makes of the values of cells that differ in one setting alone.

    Args:
        outcomes: cells, none of them a baseline.
        setting: the one under test.
        value: a cell's.
        formula: given the cells' values by that setting's, a number, or KeyError where it misses one.
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
    """Of the kinds and seeds as many as there can be with every kind at every seed, three seeds at least if possible.

    An unfinished sweep misses some. A mean over kinds is the same at each seed only if no seed misses a kind.
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
    """Mean accuracy less that of the same clients alone, with the same balance."""
    pairs: Pairs = defaultdict(dict)
    for outcome in outcomes:
        alone = baselines.alone(outcome.cell.config)
        if alone is not None:
            pairs[key(outcome.cell.config, "seed")][seed_of(outcome)] = mean_accuracy(outcome) - mean_accuracy(alone)
    return pairs
