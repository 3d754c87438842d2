"""The paper's findings on SUN scenes; see `edgekd.lab.findings.paper`."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from edgekd.lab.findings.cells import key, mean_accuracy, seed_of, settings
from edgekd.lab.findings.claims import OTHERS, PAPER, Finding, Study, make_finding, part, select
from edgekd.lab.findings.contrasts import Pairs, contrasts
from edgekd.lab.findings.stats import Hypothesis
from edgekd.lab.sweep.records import Outcome

_PLACES = (("sum", 0.0), ("sum", 0.8), ("average", 0.0), ("average", 0.2))


def sun_ce_kl_behind(study: Study) -> Finding:
    """Finding 7: CE and KL fall behind SED, TD and JS."""
    cells = select(study.sun, iid=False, measures=PAPER)
    places = [(f"{c}, alpha {a:g}", select(cells, combines=[c], alphas=[a])) for c, a in _PLACES]
    parts = [
        part(
            f"{m} - mean of ce, kl, {place}",
            Hypothesis.MORE,
            _ahead(chosen, m),
            f"skewed SUN cells of {m} and kl, {place}",
        )
        for place, chosen in places
        for m in OTHERS
    ]
    claim = "SUN scenes, skewed: CE and KL fall behind SED, TD and JS at alpha 0 and 0.8 (sum), 0 and 0.2 (average)"
    spoken = [outcome for _, chosen in places for outcome in chosen]
    return make_finding("7-sun-ce-kl-behind", claim, parts, spoken, mean_accuracy)


def sun_deep_head_overfits(study: Study) -> Finding:
    """Finding 8: more layers in the second head make it overfit."""
    cells = select(study.sun_heads, iid=False)
    depths = sorted({settings(o.cell.config)["head_layers"] for o in cells if _hidden(o) > 1}, key=len)
    wanted = "skewed SUN cells with two heads, the second linear and with more layers"
    deeper = [
        part(f"linear - {d} second head", Hypothesis.MORE, _lost(cells, d), wanted) for d in depths or ["512,256"]
    ]
    beside = [
        part(
            f"first head - second head ({d})",
            Hypothesis.MORE,
            _first_less_second(o for o in cells if settings(o.cell.config)["head_layers"] == d),
            decides=False,
        )
        for d in depths
    ]
    claim = "SUN scenes, skewed: more layers in the second head make it overfit"
    remark = (
        "The paper has 0.577 for the first head and 0.483 for the deep second one; but the two heads learn from other "
        "targets too, so what decides is a deep against a linear second head. Whether a deeper head overfits, or has "
        "not had the steps to learn, these cells do not tell apart: accuracy on the training images is not kept."
    )
    spoken = [outcome for outcome in cells if _hidden(outcome) > 1]
    return make_finding("8-sun-deep-head-overfits", claim, [*deeper, *beside], spoken, mean_accuracy, remark=remark)


def _ahead(cells: Iterable[Outcome], measure: str) -> Pairs:
    """The accuracy of a measure minus the mean of CE and KL, or of the one of them that exists."""

    def formula(values: Mapping[Any, float]) -> float:
        theirs = [values[m] for m in ("ce", "kl") if m in values]
        if not theirs:
            raise KeyError
        return values[measure] - statistics.fmean(theirs)

    return contrasts(cells, "measure", mean_accuracy, formula)


def _hidden(outcome: Outcome) -> int:
    return len(outcome.cell.config.model.hidden_layers())


def _lost(cells: Iterable[Outcome], layers: str) -> Pairs:
    """The accuracy with a linear second head minus that with a deep one."""
    return contrasts(cells, "head_layers", mean_accuracy, lambda v: v["none"] - v[layers])


def _first_less_second(cells: Iterable[Outcome]) -> Pairs:
    """The mean accuracy of the first head minus that of the second; not at alpha 0, where only the second learns."""
    pairs: Pairs = {}
    for outcome in cells:
        if outcome.cell.config.distill.alpha > 0 and all(len(peer.head_accuracies) > 1 for peer in outcome.peers):
            lead = statistics.fmean(p.head_accuracies[0] - p.head_accuracies[1] for p in outcome.peers)
            pairs.setdefault(key(outcome.cell.config, "seed"), {})[seed_of(outcome)] = lead
    return pairs
