"""A claim and what speaks for and against it: comparisons, the verdict that they give, the noise beside them.

A finding is made of parts, each one comparison. The deciding parts give the verdict: supported if all are, not
supported if one is not, else undecided. Its effect is that of the part that decided. The other parts are there to be
read.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from edgekd.data.splits import skew
from edgekd.lab.findings.cells import Value, data_name
from edgekd.lab.findings.contrasts import Pairs, scatter_of
from edgekd.lab.findings.panels import Family
from edgekd.lab.findings.results import Baselines
from edgekd.lab.findings.stats import (
    ACCURACY,
    MIN_SEEDS,
    NOT_SUPPORTED,
    SUPPORTED,
    UNDECIDED,
    Comparison,
    Hypothesis,
    Unit,
    compare,
    judge,
    seed_means,
)
from edgekd.lab.sweep.records import Outcome

_RANK = {NOT_SUPPORTED: 0, UNDECIDED: 1, SUPPORTED: 2}
ALPHAS = (0.2, 0.5, 0.8)  # the paper's, without 0 and 1
COMBINES = ("sum", "average")  # the paper's
OTHERS = ("js", "td", "sed")  # the paper's new measures
PAPER = ("ce", "kl", *OTHERS)


@dataclass(frozen=True, slots=True)
class Part:
    """One comparison behind a finding; positive is the claimed side of a claim that there is more."""

    name: str  # what is subtracted from what
    hypothesis: Hypothesis
    found: Comparison
    decides: bool = True
    missing: str = ""  # the cells that there would have to be, where there are not
    kinds: int = 1  # how many differences of each seed are averaged
    verdict: str = UNDECIDED

    @property
    def strength(self) -> float:
        """How far the effect lies on the side of its hypothesis; endlessly far on the other where nothing is known."""
        if self.found.n < MIN_SEEDS:
            return -math.inf
        effect = self.found.effect
        return {Hypothesis.MORE: effect, Hypothesis.NO_MORE: -effect, Hypothesis.ALIKE: -abs(effect)}[self.hypothesis]


@dataclass(frozen=True, slots=True)
class Finding:
    """What the cells say about one claim."""

    id: str
    claim: str
    parts: tuple[Part, ...]
    unit: Unit = ACCURACY
    noise: float = math.nan  # standard error of a difference of two unpaired cells' means, each of n seeds; same unit
    remark: str = ""

    @property
    def verdict(self) -> str:
        """Supported, not supported or undecided."""
        return self.deciding.verdict

    @property
    def deciding(self) -> Part:
        """The part that the verdict hangs on: of the worst verdict the weakest, one with data before one without."""
        return min(
            (p for p in self.parts if p.decides), key=lambda p: (_RANK[p.verdict], p.found.n < MIN_SEEDS, p.strength)
        )

    @property
    def missing(self) -> list[str]:
        """The cells that there would have to be."""
        return [part.missing for part in self.parts if part.decides and part.missing]


@dataclass(frozen=True, slots=True)
class Study:
    """What findings are drawn from."""

    main: tuple[Outcome, ...]  # of figure 2, of one data set: of those that are not SUN scenes the one with most cells
    sun: tuple[Outcome, ...]  # of figure 2, of SUN scenes
    sun_heads: tuple[Outcome, ...]  # of SUN scenes, all with several heads
    baselines: Baselines


def make_study(main: Iterable[Family], together: Iterable[Outcome], baselines: Baselines) -> Study:
    """Sort out the cells: of the families that findings are drawn from, and of all together."""
    main = list(main)
    suns = {family.data for family in main if family.sun}
    first = next((family.cells for family in main if not family.sun), ())
    return Study(
        main=first,
        sun=tuple(o for family in main if family.sun for o in family.cells),
        sun_heads=tuple(o for o in together if data_name(o.cell.config) in suns and o.cell.config.model.heads > 1),
        baselines=baselines,
    )


def select(
    outcomes: Iterable[Outcome],
    *,
    iid: bool | None = None,
    measures: Collection[str] | None = None,
    alphas: Collection[float] | None = None,
    combines: Collection[str] | None = None,
) -> list[Outcome]:
    """The cells with one of these values; None takes any. Not `iid` is the skewed split."""

    def fits(outcome: Outcome) -> bool:
        data, distill = outcome.cell.config.data, outcome.cell.config.distill
        return (
            (iid is None or (data.iid if iid else skew(data) is not None))
            and (measures is None or distill.measure in measures)
            and (alphas is None or distill.alpha in alphas)
            and (combines is None or distill.combine in combines)
        )

    return [outcome for outcome in outcomes if fits(outcome)]


def part(name: str, hypothesis: Hypothesis, pairs: Pairs, missing: str = "", decides: bool = True) -> Part:
    """One comparison, of the means by seed; `missing` says which cells it needs, all of them with the same seeds."""
    by_seed, kinds = seed_means(pairs), len(pairs)
    found = compare([by_seed[seed] for seed in sorted(by_seed)])
    lacking = f"{missing}, of the same three seeds at least" if missing and found.n < MIN_SEEDS else ""
    return Part(name, hypothesis, found, decides, lacking, kinds)


def judged(parts: Sequence[Part], unit: Unit) -> tuple[Part, ...]:
    """With verdicts; those with data that decide together, and those that do not, count as one family each."""
    size = {decides: sum(p.decides is decides and p.found.n >= MIN_SEEDS for p in parts) for decides in (True, False)}
    return tuple(replace(p, verdict=judge(p.hypothesis, p.found, unit.margin, max(1, size[p.decides]))) for p in parts)


def make_finding(
    id: str,
    claim: str,
    parts: Sequence[Part],
    cells: Iterable[Outcome],
    value: Value,
    *,
    unit: Unit = ACCURACY,
    remark: str = "",
) -> Finding:
    """A finding, with the noise of the cells that it speaks of."""
    finding = Finding(id, claim, judged(parts, unit), unit, remark=remark)
    return replace(finding, noise=scatter_of(cells, value).error(finding.deciding.found.n))
