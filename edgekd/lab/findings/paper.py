"""The paper's findings: for each a function from a sweep's cells to what they say about it.

A claim about several places (each a split, a combination and an alpha) must hold in each of them, so each is a part
that decides. Within a place, "distillation", "sum" and "average" mean the mean over the paper's measures. Only the
control takes all places together.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from edgekd.extensions import spelt
from edgekd.lab.findings.cells import Value, client_std, key, mean_accuracy, measure_order, seed_of
from edgekd.lab.findings.claims import (
    ALPHAS,
    COMBINES,
    OTHERS,
    PAPER,
    Finding,
    Part,
    Study,
    judged,
    make_finding,
    part,
    select,
)
from edgekd.lab.findings.contrasts import Pairs, contrasts, gains
from edgekd.lab.findings.cost import Ratios
from edgekd.lab.findings.paper_sun import sun_ce_kl_behind, sun_deep_head_overfits
from edgekd.lab.findings.stats import SPREAD, TIME, Hypothesis, compare
from edgekd.lab.sweep.records import Outcome


def iid_no_gain(study: Study) -> Finding:
    """Finding 1: no gain with iid data, and all measures perform like CE."""
    cells = select(study.main, iid=True, measures=PAPER, alphas=ALPHAS)
    reference = _ce_like(cells)
    others = [m for m in dict.fromkeys((*OTHERS, *_measures(cells))) if m != reference]
    alike = [
        part(f"{m} - {reference}, {c}, alpha {a}", Hypothesis.ALIKE, pairs, f"iid cells of {m}, {c}, alpha {a}")
        for c in COMBINES
        for a in ALPHAS
        for m in others
        if (pairs := _less(select(cells, combines=[c], alphas=[a]), m, reference, mean_accuracy)) or m in OTHERS
    ]
    parts = [*_gains_by_place(cells, study, Hypothesis.NO_MORE, "iid"), *alike, *_gains_by_measure(cells, study)]
    claim = "iid: distillation brings no gain in accuracy, and all measures perform like CE"
    return make_finding("1-iid-no-gain", claim, parts, cells, mean_accuracy)


def skewed_gain(study: Study) -> Finding:
    """Finding 2: with skewed data, distillation raises the mean accuracy."""
    cells = select(study.main, iid=False, measures=PAPER, alphas=ALPHAS)
    parts = [*_gains_by_place(cells, study, Hypothesis.MORE, "skewed"), *_gains_by_measure(cells, study)]
    claim = "Skewed: distillation raises the mean accuracy, clearly so at alpha 0.5"
    return make_finding("2-skewed-gain", claim, parts, cells, mean_accuracy)


def kl_varies_most(study: Study) -> Finding:
    """Finding 3: with skewed data, KL varies most over the clients."""
    cells = select(study.main, iid=False, measures=PAPER, alphas=[0.5], combines=["sum"])
    wanted = "skewed cells of kl and {}, sum, alpha 0.5"
    parts = [
        part(
            f"kl - {m}",
            Hypothesis.MORE,
            _less(cells, "kl", m, client_std),
            wanted.format(m),
        )
        for m in OTHERS
    ]
    control = part("kl - ce, the control", Hypothesis.MORE, _less(cells, "kl", "ce", client_std), decides=False)
    claim = "Skewed, sum, alpha 0.5: KL has the largest standard deviation over the clients"
    remark = "CE is a control: it trains as KL does, so KL cannot truly vary more than CE."
    return make_finding("3-kl-varies-most", claim, [*parts, control], cells, client_std, unit=SPREAD, remark=remark)


def sed_varies_least(study: Study) -> Finding:
    """Finding 4: with skewed data, SED varies least over the clients."""
    cells = select(study.main, iid=False, measures=PAPER, alphas=ALPHAS, combines=["sum"])
    parts = [
        part(
            f"{m} - sed, alpha {a}",
            Hypothesis.MORE,
            _less(select(cells, alphas=[a]), m, "sed", client_std),
            f"skewed cells of sed and {m}, sum, alpha {a}",
        )
        for a in ALPHAS
        for m in ("kl", "js", "td")
    ]
    claim = "Skewed, sum, from alpha 0.2: SED has the smallest standard deviation over the clients"
    remark = "JS and SED nearly agree (SED = exp(JS) - 1), so a gap between these two is not to be expected."
    return make_finding("4-sed-varies-least", claim, parts, cells, client_std, unit=SPREAD, remark=remark)


def average_like_sum(study: Study) -> Finding:
    """Finding 5: the average of the teachers does as well as the sum."""
    cells = select(study.main, measures=PAPER, alphas=ALPHAS, combines=COMBINES)

    def less(chosen: Iterable[Outcome]) -> Pairs:
        return contrasts(chosen, "combine", mean_accuracy, lambda v: v["average"] - v["sum"])

    once = _once(cells)
    splits = [("iid", True), ("skewed", False)]
    parts = [
        part(
            f"average - sum, {name}, alpha {a}",
            Hypothesis.ALIKE,
            less(select(once, iid=iid, alphas=[a])),
            f"{name} cells, sum and average, alpha {a}",
        )
        for name, iid in splits
        for a in ALPHAS
    ]
    each = [
        part(f"{m}, {name}", Hypothesis.ALIKE, less(select(cells, iid=iid, measures=[m])), decides=False)
        for name, iid in splits
        for m in _measures(cells)
    ]
    claim = "The average of the teachers' predictions does about as well as the sum of their losses"
    remark = (
        "The paper says so of iid data. The sum over K - 1 teachers weighs the distillation up to K - 1 times as much "
        "as the average does."
    )
    return make_finding("5-average-like-sum", claim, [*parts, *each], cells, mean_accuracy, remark=remark)


def td_cheapest(ratios: Ratios) -> Finding:
    """Finding 6: TD is the cheapest measure.

    Args:
        ratios: shape -> measure -> its time, forward and backward, divided by that of KL, in independent blocks.
    """

    def dearer(m: str, shape: str, decides: bool) -> Part:
        of = ratios[shape]
        differences = [a - b for a, b in zip(of[m], of["td"], strict=True)]
        return Part(f"{m} - td at {shape}", Hypothesis.MORE, compare(differences), decides)

    parts = [dearer(m, shape, True) for shape in ratios for m in ("kl", "js", "sed")]
    if not parts:
        wanted = "the measures' times, which `python benchmarks/measures.py --out DIR` writes beside a sweep's results"
        parts = [Part("others - td", Hypothesis.MORE, compare([]), missing=wanted)]
    parts += [dearer("ce", shape, False) for shape in ratios]
    claim = "TD is the cheapest of KL, JS, TD and SED"
    remark = "Here n counts blocks of interleaved passes. CE, which is no divergence, does less of many classes."
    return Finding("6-td-cheapest", claim, judged(parts, TIME), unit=TIME, remark=remark)


def ce_like_kl(study: Study) -> Finding:
    """The control: CE and KL have the same gradient, so their difference shows the effect of rounding."""
    groups = {"": study.main, ", SUN scenes": study.sun} if study.main else {", SUN scenes": study.sun}
    both = {name: select(cells, measures=PAPER) for name, cells in groups.items()}
    pairs = {name: _less(cells, "ce", "kl", mean_accuracy) for name, cells in both.items()}
    present = [name for name in both if any(pairs[name].values())] or list(groups)[:1]
    parts = [part(f"ce - kl{name}", Hypothesis.ALIKE, pairs[name], "cells of ce and kl") for name in present]
    parts += [
        part(f"sed - js{name}", Hypothesis.ALIKE, _less(cells, "sed", "js", mean_accuracy), decides=False)
        for name, cells in both.items()
    ]
    sizes = [abs(value) for of in pairs.values() for by_seed in of.values() for value in by_seed.values()]
    remark = f"The largest |ce - kl| of a single cell and seed is {max(sizes):.3f}." if sizes else ""
    claim = "Control: CE trains as KL does, since the two have the same gradient"
    cells = [outcome for name in present for outcome in select(both[name], measures=("ce", "kl"))]
    return make_finding("control-ce-like-kl", claim, parts, cells, mean_accuracy, remark=remark)


SWEPT: tuple[Callable[[Study], Finding], ...] = (  # the findings that need the cells of a sweep; finding 6 is timed
    iid_no_gain,
    skewed_gain,
    kl_varies_most,
    sed_varies_least,
    average_like_sum,
    sun_ce_kl_behind,
    sun_deep_head_overfits,
)


def all_findings(study: Study, ratios: Ratios) -> list[Finding]:
    """The findings about all claims, in the paper's order."""
    return sorted([*(make(study) for make in SWEPT), td_cheapest(ratios)], key=lambda finding: finding.id)


def _gains_by_place(cells: Sequence[Outcome], study: Study, hypothesis: Hypothesis, split: str) -> list[Part]:
    """The gain of distillation over the same clients alone, for each combination and alpha."""
    once = _once(cells)
    return [
        part(
            f"distillation - alone, {combine}, alpha {a}",
            hypothesis,
            gains(select(once, combines=[combine], alphas=[a]), study.baselines),
            f"{split} cells, {combine}, alpha {a}, with their lone baseline",
        )
        for a in ALPHAS
        for combine in COMBINES
    ]


def _gains_by_measure(cells: Sequence[Outcome], study: Study) -> list[Part]:
    """The gain for each measure at alpha 0.5; these parts do not decide."""
    return [
        part(
            f"{m} - alone, {combine}, alpha 0.5",
            Hypothesis.MORE,
            gains(select(cells, measures=[m], combines=[combine], alphas=[0.5]), study.baselines),
            decides=False,
        )
        for combine in COMBINES
        for m in _measures(cells)
    ]


def _measures(cells: Iterable[Outcome]) -> list[str]:
    return sorted({spelt(outcome.cell.config.distill.measure) for outcome in cells}, key=measure_order)


def _without_measure(outcome: Outcome) -> tuple[Any, int]:
    return key(outcome.cell.config, "seed", "measure"), seed_of(outcome)


def _once(cells: Sequence[Outcome]) -> list[Outcome]:
    """Leave out the cells of CE that have a counterpart of KL: the two train in the same way, and would count twice."""
    of_kl = {_without_measure(outcome) for outcome in select(cells, measures=["kl"])}
    return [o for o in cells if o.cell.config.distill.measure != "ce" or _without_measure(o) not in of_kl]


def _ce_like(cells: Sequence[Outcome]) -> str:
    """``ce``; or ``kl``, which has the same gradient, if cells of KL have no counterpart of CE."""
    of_ce, of_kl = ({_without_measure(o) for o in select(cells, measures=[m])} for m in ("ce", "kl"))
    return "ce" if of_ce and of_kl <= of_ce else "kl"


def _less(cells: Iterable[Outcome], first: str, second: str, value: Value) -> Pairs:
    """The value of measure `first` minus that of measure `second`."""
    return contrasts(cells, "measure", value, lambda v: v[first] - v[second])
