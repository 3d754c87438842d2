"""The paper's findings on SUN scenes; see `edgekd.lab.findings`."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from edgekd.config import ModelConfig
from edgekd.lab.cells import Pairs, contrasts, key, mean_accuracy, seed_of
from edgekd.lab.claims import OTHERS, PAPER, Finding, Study, make_finding, part, select
from edgekd.lab.records import Outcome
from edgekd.lab.stats import Claim


def sun_ce_kl_behind(study: Study) -> Finding:
    """Finding 7."""
    cells = select(study.sun, iid=False, measures=PAPER)
    where = [("sum", 0.0), ("sum", 0.8), ("average", 0.0), ("average", 0.2)]
    panels = [(c, a, select(cells, combines=[c], alphas=[a])) for c, a in where]
    spoken = [outcome for _, _, chosen in panels for outcome in chosen]
    wanted = "skewed SUN cells of kl or ce and of js, td and sed, at alpha 0 and 0.8 (sum), 0 and 0.2 (average)"

    def ahead(chosen: Iterable[Outcome], ours: Sequence[str] = OTHERS) -> Pairs:
        def formula(values: dict[Any, float]) -> float:
            theirs = [values[m] for m in ("ce", "kl") if m in values]
            if not theirs:
                raise KeyError
            return statistics.fmean(values[m] for m in ours) - statistics.fmean(theirs)

        return contrasts(chosen, "measure", mean_accuracy, formula)

    parts = [
        part("mean of js, td, sed - mean of ce, kl", Claim.MORE, ahead(spoken), wanted),
        *(part(f"the same, {c}, alpha {a:g}", Claim.MORE, ahead(chosen), decides=False) for c, a, chosen in panels),
        *(part(f"{m} - mean of ce, kl", Claim.MORE, ahead(spoken, [m]), decides=False) for m in OTHERS),
    ]
    claim = "SUN scenes, skewed: CE and KL fall behind SED, TD and JS at alpha 0 and 0.8 (sum), 0 and 0.2 (average)"
    return make_finding("7-sun-ce-kl-behind", claim, parts, spoken, mean_accuracy)


def sun_deep_head_overfits(study: Study) -> Finding:
    """Finding 8."""
    cells = select(study.sun_heads, iid=False)
    deep = [o for o in cells if o.cell.config.model.hidden_layers()]
    alphas = sorted({o.cell.config.distill.alpha for o in deep})
    parts = [
        part(
            "first head - second head",
            Claim.MORE,
            _first_less_second(deep),
            "skewed SUN cells with a deeper second head",
        ),
        *(
            part(
                f"first head - second head, alpha {a:g}",
                Claim.MORE,
                _first_less_second(select(deep, alphas=[a])),
                decides=False,
            )
            for a in alphas
        ),
    ]
    shallow = contrasts(cells, "head_layers", mean_accuracy, _shallow_less_deep)
    if any(shallow.values()):
        parts.insert(1, part("linear second head - deep second head", Claim.MORE, shallow))
    claim = "SUN scenes, skewed: more layers in the second head make it overfit"
    remark = (
        "The paper has 0.577 for the first head and 0.483 for the deep second one. The two heads learn from different "
        "targets too, so the cleaner test is a deep against a linear second head."
    )
    return make_finding("8-sun-deep-head-overfits", claim, parts, deep, mean_accuracy, remark=remark)


def _first_less_second(cells: Iterable[Outcome]) -> Pairs:
    """Accuracy of the first head less that of the second, over the clients."""

    def lead(outcome: Outcome) -> float:
        return statistics.fmean(p.head_accuracies[0] - p.head_accuracies[1] for p in outcome.peers)

    pairs: Pairs = {}
    for outcome in cells:
        if all(len(peer.head_accuracies) > 1 for peer in outcome.peers):
            pairs.setdefault(key(outcome.cell.config, "seed"), {})[seed_of(outcome)] = lead(outcome)
    return pairs


def _shallow_less_deep(values: dict[Any, float]) -> float:
    """Of accuracies by ``head_layers``: linear less the mean of those with two hidden layers or more."""
    deep = [v for layers, v in values.items() if len(ModelConfig(head_layers=layers).hidden_layers()) > 1]
    if not deep:
        raise KeyError("no deep head")
    return values["none"] - statistics.fmean(deep)
