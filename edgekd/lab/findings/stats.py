"""Statistics of comparisons over seeds: paired differences with a t interval, verdicts on claims, and noise.

The unit is the seed. A difference is first formed within a seed, where data, split and initial weights are the same. So
the variation between seeds cancels out.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"

# Needed for an interval and a verdict. With two, a lucky pair can make the interval much narrower than the scatter.
MIN_SEEDS = 3

Values = Mapping[int, float]  # by seed


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of a difference."""

    name: str
    margin: float  # > 0; a difference up to this size does not matter in practice


ACCURACY = Unit("accuracy", 0.02)  # fractions in [0, 1]
SPREAD = Unit("standard deviation of accuracy over the clients", 0.01)
TIME = Unit("time of KL, forward and backward", 0.05)


class Hypothesis(Enum):
    """The claim about a difference."""

    MORE = "it is above 0"
    ALIKE = "it is about 0"
    NO_MORE = "it is not above 0"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The mean of `n` paired differences. With fewer than `MIN_SEEDS` differences its interval is infinite."""

    effect: float  # NaN if n is 0
    error: float  # standard error of the effect; infinite if n < 2
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
        """The two-sided t interval at this level."""
        if self.n < MIN_SEEDS:
            return -math.inf, math.inf
        from scipy.stats import t

        half = float(t.ppf((1 + level) / 2, self.n - 1)) * self.error
        return self.effect - half, self.effect + half

    @property
    def p(self) -> float:
        """The p value of the two-sided t test against 0; NaN with fewer than `MIN_SEEDS` differences."""
        if self.n < MIN_SEEDS:
            return math.nan
        if not self.error:
            return 0.0 if self.effect else 1.0
        from scipy.stats import t

        return 2 * float(t.sf(abs(self.effect) / self.error, self.n - 1))


def compare(differences: Sequence[float]) -> Comparison:
    """Compute the mean and the standard error of paired differences, one for each seed."""
    n = len(differences)
    error = statistics.stdev(differences) / math.sqrt(n) if n >= 2 else math.inf
    return Comparison(statistics.fmean(differences) if n else math.nan, error, n)


def paired(first: Values, second: Values) -> Comparison:
    """Compare `first` minus `second`, over the seeds that both have."""
    return compare([first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())])


def holm(ps: Sequence[float]) -> list[float]:
    """Correct the p values of one family (Holm 1979); NaN stays NaN and does not belong to the family."""
    family = sorted((p, place) for place, p in enumerate(ps) if not math.isnan(p))
    found, largest = [math.nan] * len(ps), 0.0
    for rank, (p, place) in enumerate(family):
        largest = max(largest, min(1.0, (len(family) - rank) * p))
        found[place] = largest
    return found


def ratio(parts: Sequence[float], wholes: Sequence[float]) -> Comparison | None:
    """The mean part divided by the mean whole, paired by seed; None if the mean whole is not above 0.

    It is not the mean of the ratios of the seeds, which one seed with a whole near 0 would dominate. The error is that
    of the linearised ratio (Cochran 1977, Sampling Techniques, section 6.4).
    """
    whole = statistics.fmean(wholes) if wholes else 0.0
    if not whole > 0:
        return None
    share = statistics.fmean(parts) / whole
    left = compare([(p - share * w) / whole for p, w in zip(parts, wholes, strict=True)])
    return Comparison(share, left.error, left.n)


def judge(hypothesis: Hypothesis, found: Comparison, margin: float, together: int = 1) -> str:
    """Decide on a claim: supported, not supported or undecided.

    Between supported and not supported there is always a range that is undecided, so that a tiny change never turns a
    verdict into its opposite. With fewer than `MIN_SEEDS` differences, the verdict is always undecided.

    Args:
        hypothesis: the claim.
        found: the difference; positive supports a claim that there is more.
        margin: in the unit of the difference, > 0; a difference up to this size does not matter in practice.
        together: the number of comparisons behind one claim. The claim is supported only if all comparisons support it,
            which needs no correction. One comparison is enough to refute it, so for this the interval is at
            1 - 0.05 / `together`.
    """
    if found.n < MIN_SEEDS:
        return UNDECIDED
    low, high = found.interval()
    wide_low, wide_high = found.interval(1 - 0.05 / together)
    if hypothesis is Hypothesis.MORE:
        supported, refuted = low > 0 and found.effect >= margin, wide_high < margin
    elif hypothesis is Hypothesis.ALIKE:
        supported, refuted = -margin < low and high < margin, wide_low > margin or wide_high < -margin
    else:
        supported, refuted = high < margin, wide_low > margin
    return SUPPORTED if supported else NOT_SUPPORTED if refuted else UNDECIDED


def seed_means(values: Mapping[Any, Values]) -> dict[int, float]:
    """The mean over the kinds for each seed; only for seeds that all kinds have, so that all means have the same kinds.

    Args:
        values: kind (all settings but the seed) -> seed -> value.
    """
    kinds = sorted(values, key=str)  # the sum of floats depends on the order
    seeds = set.intersection(*(set(values[kind]) for kind in kinds)) if kinds else set()
    return {seed: statistics.fmean(values[kind][seed] for kind in kinds) for seed in sorted(seeds)}


@dataclass(frozen=True, slots=True)
class Scatter:
    """The scatter of the value of one cell over independent seeds."""

    sigma: float  # standard deviation, pooled over cells; NaN if no cell has two seeds
    degrees: int  # degrees of freedom: number of seeds - 1, summed over cells

    def error(self, n: int) -> float:
        """The resulting standard error of the difference of two means of unpaired cells, each with `n` seeds."""
        return self.sigma * math.sqrt(2 / n) if n else math.nan


def scatter(groups: Iterable[Sequence[float]]) -> Scatter:
    """The scatter, pooled over groups of values that differ only in the seed."""
    several = [group for group in groups if len(group) >= 2]
    degrees = sum(len(group) - 1 for group in several)
    squares = math.fsum(statistics.variance(group) * (len(group) - 1) for group in several)
    return Scatter(math.sqrt(squares / degrees) if degrees else math.nan, degrees)
