"""Claims, the comparisons for and against them, the resulting verdicts, and the noise.

A finding has parts, each of which is one comparison. Some parts decide: the finding is supported if all of these are
supported, not supported if one of them is not supported, and otherwise undecided. The effect of a finding is that of
the part that decided. The other parts are only for information.
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
ALPHAS = (0.2, 0.5, 0.8)  # the paper's values, without 0 and 1
COMBINES = ("sum", "average")  # the paper's combinations
OTHERS = ("js", "td", "sed")  # the paper's new measures
PAPER = ("ce", "kl", *OTHERS)


@dataclass(frozen=True, slots=True)
class Part:
    """One comparison in a finding. If the claim is that there is more, positive differences support it."""

    name: str  # what is subtracted from what
    hypothesis: Hypothesis
    found: Comparison
    decides: bool = True
    missing: str = ""  # the cells that are missing for it, if there are any
    kinds: int = 1  # number of differences that are averaged for each seed
    verdict: str = UNDECIDED

    @property
    def strength(self) -> float:
        """How strongly the effect supports the hypothesis; minus infinity if there are too few seeds."""
        if self.found.n < MIN_SEEDS:
            return -math.inf
        effect = self.found.effect
        return {Hypothesis.MORE: effect, Hypothesis.NO_MORE: -effect, Hypothesis.ALIKE: -abs(effect)}[self.hypothesis]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one claim of the paper: its comparisons (parts), the verdict that follows, and the noise."""

    id: str
    claim: str
    parts: tuple[Part, ...]
    unit: Unit = ACCURACY
    noise: float = math.nan  # standard error of the difference of two unpaired cells' means over n seeds; same unit
    remark: str = ""

    @property
    def verdict(self) -> str:
        """The verdict: supported, not supported or undecided."""
        return self.deciding.verdict

    @property
    def deciding(self) -> Part:
        """The part that determines the verdict: the weakest with the worst verdict, and rather one with data."""
        return min(
            (p for p in self.parts if p.decides), key=lambda p: (_RANK[p.verdict], p.found.n < MIN_SEEDS, p.strength)
        )

    @property
    def missing(self) -> list[str]:
        """The cells that are missing for the verdict."""
        return [part.missing for part in self.parts if part.decides and part.missing]


@dataclass(frozen=True, slots=True)
class Study:
    """The cells from which findings are drawn."""

    main: tuple[Outcome, ...]  # of figure 2, for one data set: the one with most cells that is not SUN scenes
    sun: tuple[Outcome, ...]  # of figure 2, for SUN scenes
    sun_heads: tuple[Outcome, ...]  # for SUN scenes, all cells with several heads
    baselines: Baselines


def make_study(main: Iterable[Family], together: Iterable[Outcome], baselines: Baselines) -> Study:
    """Select the cells for a study, from the main families and from all cells that are not baselines."""
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
    """Select cells by their settings; None allows any value. `iid` False selects the skewed split."""

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
    """Make a part: one comparison, of the means over all kinds of pairs for each seed.

    Args:
        name: what is subtracted from what.
        hypothesis: the claim about the difference.
        pairs: the differences.
        missing: the cells that are needed, as text; it is kept if there are too few seeds.
        decides: whether the part takes part in the verdict of its finding.
    """
    by_seed, kinds = seed_means(pairs), len(pairs)
    found = compare([by_seed[seed] for seed in sorted(by_seed)])
    lacking = f"{missing}, of the same three seeds at least" if missing and found.n < MIN_SEEDS else ""
    return Part(name, hypothesis, found, decides, lacking, kinds)


def judged(parts: Sequence[Part], unit: Unit) -> tuple[Part, ...]:
    """Add the verdicts to parts. Parts with data that decide are one family for the intervals, and the others too."""
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
    """Judge the parts of a claim, and put their verdicts and the noise of the results into a finding.

    Args:
        id: short name of the finding.
        claim: what the paper says, as a sentence.
        parts: the comparisons that support or refute the claim, not yet judged.
        cells: the runs that the claim is about. From them follows how much `value` varies between seeds, the noise.
        value: the number that is looked at in a run, such as its accuracy.
        unit: of the differences in `parts`, with the margin that a verdict needs.
        remark: printed below the finding.
    """
    finding = Finding(id, claim, judged(parts, unit), unit, remark=remark)
    return replace(finding, noise=scatter_of(cells, value).error(finding.deciding.found.n))
