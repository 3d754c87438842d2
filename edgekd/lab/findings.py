"""The paper's findings, each a function from a sweep's cells to what they say about it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from edgekd.lab.cells import Pairs, Value, client_std, contrasts, gains, key, mean_accuracy, measure_order, seed_of
from edgekd.lab.claims import (
    ALPHAS,
    OTHERS,
    PAPER,
    Finding,
    Part,
    Study,
    judged,
    make_finding,
    part,
    select,
    weakest_first,
)
from edgekd.lab.records import Outcome
from edgekd.lab.stats import Claim, compare
from edgekd.lab.sun_findings import sun_ce_kl_behind, sun_deep_head_overfits


def iid_no_gain(study: Study) -> Finding:
    """Finding 1."""
    cells = select(study.cifar, iid=True, measures=PAPER, alphas=ALPHAS)
    reference = _ce_like(cells)
    gain = part(
        "any measure - alone",
        Claim.NO_MORE,
        gains(_once(cells), study.baselines),
        "iid cells at alpha 0.2, 0.5 or 0.8 with their lone baseline",
    )
    alike = [
        part(f"{m} - {reference}", Claim.ALIKE, _less(cells, m, reference, mean_accuracy), f"iid cells of {m}")
        for m in dict.fromkeys((*OTHERS, *_measures(cells)))
        if m != reference
    ]
    each = [
        part(f"{m} - alone", Claim.NO_MORE, gains(select(cells, measures=[m]), study.baselines), decides=False)
        for m in _measures(cells)
    ]
    claim = "iid: distillation brings no gain in accuracy, and all measures perform like CE"
    return make_finding("1-iid-no-gain", claim, [gain, *alike, *each], cells, mean_accuracy)


def skewed_gain(study: Study) -> Finding:
    """Finding 2."""
    cells = select(study.cifar, iid=False, measures=PAPER, alphas=ALPHAS)
    wanted = "skewed cells at alpha {} with their lone baseline"

    def gain(name: str, chosen: Iterable[Outcome], alpha: str, decides: bool) -> Part:
        return part(name, Claim.MORE, gains(chosen, study.baselines), wanted.format(alpha), decides)

    once = _once(cells)
    parts = [
        gain("any measure - alone", once, "0.2, 0.5 or 0.8", True),
        gain("any measure - alone, alpha 0.5", select(once, alphas=[0.5]), "0.5", True),
        *(gain(f"any measure - alone, alpha {a}", select(once, alphas=[a]), str(a), False) for a in (0.2, 0.8)),
        *(
            gain(f"{m} - alone, alpha 0.5", select(cells, alphas=[0.5], measures=[m]), "0.5", False)
            for m in _measures(cells)
        ),
    ]
    claim = "Skewed: distillation raises the mean accuracy, clearly so at alpha 0.5"
    return make_finding("2-skewed-gain", claim, parts, cells, mean_accuracy)


def kl_varies_most(study: Study) -> Finding:
    """Finding 3."""
    cells = select(study.cifar, iid=False, measures=PAPER, alphas=[0.5], combines=["sum"])
    parts = [
        part(f"kl - {m}", Claim.MORE, _less(cells, "kl", m, client_std), f"skewed cells of kl and {m}, sum, alpha 0.5")
        for m in OTHERS
    ]
    control = part("kl - ce, the control", Claim.MORE, _less(cells, "kl", "ce", client_std), decides=False)
    claim = "Skewed, sum, alpha 0.5: KL has the largest standard deviation over the clients"
    return make_finding(
        "3-kl-varies-most",
        claim,
        [*weakest_first(parts), control],
        cells,
        client_std,
        unit="standard deviation of accuracy over the clients",
        remark="CE is a control: it trains as KL does, so KL cannot truly vary more than CE.",
    )


def sed_varies_least(study: Study) -> Finding:
    """Finding 4."""
    cells = select(study.cifar, iid=False, measures=PAPER, alphas=ALPHAS, combines=["sum"])
    rivals = ("kl", "js", "td")
    wanted = "skewed cells of sed and {}, sum, alpha 0.2, 0.5 or 0.8"
    parts = [part(f"{m} - sed", Claim.MORE, _less(cells, m, "sed", client_std), wanted.format(m)) for m in rivals]
    each = [
        part(
            f"{m} - sed, alpha {a}",
            Claim.MORE,
            _less(select(cells, alphas=[a]), m, "sed", client_std),
            decides=False,
        )
        for a in ALPHAS
        for m in rivals
    ]
    claim = "Skewed, sum, from alpha 0.2: SED has the smallest standard deviation over the clients"
    return make_finding(
        "4-sed-varies-least",
        claim,
        [*weakest_first(parts), *each],
        cells,
        client_std,
        unit="standard deviation of accuracy over the clients",
        remark="JS and SED nearly agree (SED = exp(JS) - 1), so a gap between these two is not to be expected.",
    )


def average_like_sum(study: Study) -> Finding:
    """Finding 5."""
    cells = select(study.cifar, measures=PAPER, alphas=ALPHAS, combines=["sum", "average"])

    def less(chosen: Iterable[Outcome]) -> Pairs:
        return contrasts(chosen, "combine", mean_accuracy, lambda v: v["average"] - v["sum"])

    once = _once(cells)
    splits = [("iid", True), ("skewed", False)]
    parts = [
        part(f"average - sum, {name}", Claim.ALIKE, less(select(once, iid=iid)), f"{name} cells, sum and average")
        for name, iid in splits
    ]
    each = [
        part(f"{m}, {name}", Claim.ALIKE, less(select(cells, iid=iid, measures=[m])), decides=False)
        for name, iid in splits
        for m in _measures(cells)
    ]
    claim = "The average of the teachers' predictions does about as well as the sum of their losses"
    remark = (
        "The paper says so of iid data. The sum over K - 1 teachers weighs the distillation up to K - 1 times as much "
        "as the average does."
    )
    return make_finding("5-average-like-sum", claim, [*parts, *each], cells, mean_accuracy, remark=remark)


def td_cheapest(ratios: dict[str, dict[str, Sequence[float]]]) -> Finding:
    """Finding 6.

    Args:
        ratios: by shape, then measure: its time, forward and backward, as a multiple of KL's, in independent blocks.
    """
    parts = [
        Part(f"{m} - td at {shape}", Claim.MORE, compare([a - b for a, b in zip(of[m], of["td"], strict=True)]))
        for shape, of in ratios.items()
        for m in ("kl", "js", "sed")
    ]
    parts += [
        Part(
            f"ce - td at {shape}", Claim.MORE, compare([a - b for a, b in zip(of["ce"], of["td"], strict=True)]), False
        )
        for shape, of in ratios.items()
    ]
    claim = "TD is the cheapest of KL, JS, TD and SED"
    remark = "Timed as this report was made; n counts blocks of interleaved passes. CE does less still: no divergence."
    decided = weakest_first([p for p in parts if p.decides]) + [p for p in parts if not p.decides]
    finding = Finding("6-td-cheapest", claim, judged(decided), unit="time of KL, forward and backward", remark=remark)
    return finding


def ce_like_kl(study: Study) -> Finding:
    """The control: what rounding alone does."""
    groups = {"": study.cifar, ", SUN scenes": study.sun} if study.cifar else {", SUN scenes": study.sun}
    both = {name: select(cells, measures=PAPER) for name, cells in groups.items()}
    pairs = {name: _less(cells, "ce", "kl", mean_accuracy) for name, cells in both.items()}
    present = [name for name in both if any(pairs[name].values())] or list(groups)[:1]
    parts = [part(f"ce - kl{name}", Claim.ALIKE, pairs[name], "cells of ce and kl") for name in present]
    parts += [
        part(f"sed - js{name}", Claim.ALIKE, _less(cells, "sed", "js", mean_accuracy), decides=False)
        for name, cells in both.items()
    ]
    sizes = [abs(value) for of in pairs.values() for by_seed in of.values() for value in by_seed.values()]
    remark = f"The largest |ce - kl| of a single cell and seed is {max(sizes):.3f}." if sizes else ""
    claim = "Control: CE trains as KL does, since the two have the same gradient"
    cells = [outcome for name in present for outcome in select(both[name], measures=("ce", "kl"))]
    return make_finding("control-ce-like-kl", claim, parts, cells, mean_accuracy, remark=remark)


SWEPT: tuple[Callable[[Study], Finding], ...] = (  # those that a sweep's cells decide; 6 is timed
    iid_no_gain,
    skewed_gain,
    kl_varies_most,
    sed_varies_least,
    average_like_sum,
    sun_ce_kl_behind,
    sun_deep_head_overfits,
)


def all_findings(study: Study, ratios: dict[str, dict[str, Sequence[float]]]) -> list[Finding]:
    """In the paper's order."""
    return sorted([*(make(study) for make in SWEPT), td_cheapest(ratios)], key=lambda finding: finding.id)


def _measures(cells: Iterable[Outcome]) -> list[str]:
    return sorted({outcome.cell.config.distill.measure for outcome in cells}, key=measure_order)


def _without_measure(outcome: Outcome) -> tuple[Any, int]:
    return key(outcome.cell.config, "seed", "measure"), seed_of(outcome)


def _once(cells: Sequence[Outcome]) -> list[Outcome]:
    """Without CE where KL is there: the two train alike, and would count twice."""
    of_kl = {_without_measure(outcome) for outcome in select(cells, measures=["kl"])}
    return [o for o in cells if o.cell.config.distill.measure != "ce" or _without_measure(o) not in of_kl]


def _ce_like(cells: Sequence[Outcome]) -> str:
    """``ce``, or ``kl`` where some cells of KL have no counterpart of CE: its gradient is the same."""
    of_ce, of_kl = ({_without_measure(o) for o in select(cells, measures=[m])} for m in ("ce", "kl"))
    return "ce" if of_ce and of_kl <= of_ce else "kl"


def _less(cells: Iterable[Outcome], first: str, second: str, value: Value) -> Pairs:
    """Pairs of `first` less `second`, two measures."""
    return contrasts(cells, "measure", value, lambda v: v[first] - v[second])
