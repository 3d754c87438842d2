"""Comparisons over seeds: paired differences with a t interval, what they say about a claim, and the noise beside them.

The unit is the seed. A difference is first formed within a seed, where data, split and initial weights are the same, so
what seeds have in common cancels out.
"""

import math
import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

MARGIN = 0.01  # accuracy, a fraction: a difference below this is of no practical size
ALIKE_MARGIN = 0.02  # accuracy: within this two things count as equal

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"

Values = Mapping[int, float]  # by seed


class Claim(Enum):
    """What is claimed of a difference."""

    MORE = "it is above 0"
    ALIKE = "it is about 0"
    NO_MORE = "it is not above 0"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The mean of `n` paired differences. With fewer than two its interval is endless: nothing is known."""

    effect: float  # NaN where n is 0
    error: float  # standard error of the effect; infinite where n < 2
    n: int

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.interval()[0]

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.interval()[1]

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The two-sided t interval."""
        if self.n < 2:
            return -math.inf, math.inf
        from scipy.stats import t

        half = float(t.ppf((1 + level) / 2, self.n - 1)) * self.error
        return self.effect - half, self.effect + half

    @property
    def p(self) -> float:
        """Of the two-sided t test that there is no difference."""
        if self.n < 2:
            return 1.0
        if self.error == 0:
            return 1.0 if self.effect == 0 else 0.0
        from scipy.stats import t

        return float(2 * t.sf(abs(self.effect) / self.error, self.n - 1))


def compare(differences: Sequence[float]) -> Comparison:
    """Mean and standard error of paired differences, one a seed."""
    n = len(differences)
    error = statistics.stdev(differences) / math.sqrt(n) if n >= 2 else math.inf
    return Comparison(statistics.fmean(differences) if n else math.nan, error, n)


def paired(first: Values, second: Values) -> Comparison:
    """`first` less `second`, over the seeds that both have."""
    return compare([first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())])


def judge(claim: Claim, found: Comparison, together: int = 1) -> str:
    """Supported, not supported or undecided.

    Args:
        claim: what is claimed.
        found: the difference, positive on the claimed side.
        together: how many such comparisons stand behind one claim. It is supported only if all are, which needs no
            correction; one is enough to refute it, so for that each gets an interval at 1 - 0.05 / `together`.
    """
    low, high = found.interval()
    wide_low, wide_high = found.interval(1 - 0.05 / together)
    if claim is Claim.MORE:
        supported, refuted = low > 0, wide_high < MARGIN
    elif claim is Claim.ALIKE:
        supported = low > -ALIKE_MARGIN and high < ALIKE_MARGIN
        refuted = (wide_low > 0 and high > ALIKE_MARGIN) or (wide_high < 0 and low < -ALIKE_MARGIN)
    else:
        supported, refuted = high < ALIKE_MARGIN, wide_low > 0 and high > ALIKE_MARGIN
    return SUPPORTED if supported else NOT_SUPPORTED if refuted else UNDECIDED


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjustment of p values, in the order given."""
    adjusted, largest = [1.0] * len(values), 0.0
    for rank, i in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[i]))
        adjusted[i] = largest
    return adjusted


def block_means(values: Mapping[Any, Values]) -> tuple[dict[int, float], int]:
    """By seed, the mean over the kinds: of the largest complete block, so that every seed counts the same kinds.

    Args:
        values: by kind (all settings but the seed), then by seed. Where some (kind, seed) are missing, the
            block of seeds x kinds with most values is taken, one with at least two seeds if there is one.

    Returns:
        The means by seed, and of how many kinds they are.
    """
    kinds: dict[int, set[Hashable]] = {}
    for kind, by_seed in values.items():
        for seed in by_seed:
            kinds.setdefault(seed, set()).add(kind)
    blocks = {}
    for seed in kinds:
        for other in kinds:
            common = frozenset(kinds[seed] & kinds[other])
            blocks[common] = [s for s in sorted(kinds) if common <= kinds[s]]
    blocks.pop(frozenset(), None)
    if not blocks:
        return {}, 0

    def size(common: frozenset[Hashable]) -> tuple[bool, int, int]:
        seeds = len(blocks[common])
        return seeds >= 2, seeds * len(common), seeds

    best = max(sorted(blocks, key=lambda common: sorted(map(str, common))), key=size)
    ordered = sorted(best, key=str)
    return {seed: statistics.fmean(values[kind][seed] for kind in ordered) for seed in blocks[best]}, len(ordered)


@dataclass(frozen=True, slots=True)
class Scatter:
    """How one and the same cell's value scatters under independent seeds."""

    sigma: float  # standard deviation, pooled over cells; NaN where no cell has two seeds
    degrees: int  # of freedom: seeds less one, summed over cells

    def error(self, n: int) -> float:
        """The standard error that it gives to a difference of two means, each of `n` seeds, of unpaired cells."""
        return self.sigma * math.sqrt(2 / n) if n else math.nan


def scatter(groups: Iterable[Sequence[float]]) -> Scatter:
    """Pooled over groups of values that differ in nothing but the seed."""
    several = [group for group in groups if len(group) >= 2]
    degrees = sum(len(group) - 1 for group in several)
    squares = math.fsum(statistics.variance(group) * (len(group) - 1) for group in several)
    return Scatter(math.sqrt(squares / degrees) if degrees else math.nan, degrees)
