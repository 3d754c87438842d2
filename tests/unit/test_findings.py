"""The paper's findings, from made-up outcomes whose answers are known."""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from edgekd.config import Config, DataConfig, DistillConfig, ModelConfig, TrainConfig
from edgekd.files.summary import PeerSummary
from edgekd.lab.findings.claims import Finding, Study, make_study
from edgekd.lab.findings.panels import families, main_families
from edgekd.lab.findings.paper import (
    average_like_sum,
    ce_like_kl,
    iid_no_gain,
    kl_varies_most,
    sed_varies_least,
    skewed_gain,
    sun_ce_kl_behind,
    sun_deep_head_overfits,
    td_cheapest,
)
from edgekd.lab.findings.results import Baselines, Results
from edgekd.lab.findings.stats import NOT_SUPPORTED, SUPPORTED, UNDECIDED
from edgekd.lab.sweep.records import ALONE, TOGETHER, Cell, Outcome
from edgekd.simulation.groups import lone

Accuracy = Callable[[Config], float]  # mean over the clients
Spread = Callable[[Config], float]  # of three clients: the population standard deviation

IID, SKEWED = DataConfig(data="cifar10", iid=True), DataConfig(data="cifar10", gamma=15.0)
SUN = DataConfig(data="folder:/data/sun15", gamma=10.0)
MEASURES = ("kl", "js", "td", "sed")
ALPHAS = (0.2, 0.5, 0.8)


def wobble(config: Config, size: float = 0.001) -> float:
    """A little of chance, another in each cell and seed."""
    return random.Random(str(config)).uniform(-size, size)


def outcome(kind: str, config: Config, mean: float, spread: float = 0.02, heads: Sequence[float] = ()) -> Outcome:
    ends = [mean - spread * 1.5**0.5, mean, mean + spread * 1.5**0.5]
    peers = tuple(
        PeerSummary(
            id=id,
            accuracy=accuracy,
            own_accuracy=accuracy,
            steps=9,
            head_accuracies=tuple(heads) or (accuracy,),
            evaluation_samples=600,
        )
        for id, accuracy in enumerate(ends)
    )
    return Outcome(Cell(kind, config), peers, seconds=1.0)


def configs(
    data: DataConfig = SKEWED,
    measures: Sequence[str] = MEASURES,
    alphas: Sequence[float] = ALPHAS,
    combines: Sequence[str] = ("sum", "average"),
    seeds: Sequence[int] = range(5),
    model: ModelConfig | None = None,
) -> list[Config]:
    """A grid; alpha 0 has two heads."""
    return [
        Config(
            data=data,
            distill=DistillConfig(measure=measure, alpha=alpha, combine=combine, balance="off"),
            model=model or ModelConfig(heads=1 if alpha else 2),
            train=TrainConfig(seed=seed),
        )
        for measure, alpha, combine, seed in itertools.product(measures, alphas, combines, seeds)
    ]


def study_of(
    grid: Sequence[Config], accuracy: Accuracy, spread: Spread = lambda config: 0.02, alone: float = 0.4
) -> Study:
    """Make a study (the material for findings) of a grid, with the accuracies that the functions give."""
    cells = [outcome(TOGETHER, config, accuracy(config) + wobble(config), spread(config)) for config in grid]
    lonely = dict.fromkeys(lone(config, balance="off") for config in grid)
    return study_from(cells, [outcome(ALONE, config, alone) for config in lonely])


def study_from(grid: Sequence[Outcome], alone: Sequence[Outcome] = ()) -> Study:
    return make_study(main_families(families(grid)), grid, Baselines(Results(tuple(grid), tuple(alone), (), {})))


def test_no_gain_under_iid_is_supported_where_all_are_as_good_as_alone() -> None:
    finding = iid_no_gain(study_of(configs(IID), lambda config: 0.4))
    assert finding.verdict == SUPPORTED
    assert finding.deciding.found.n == 5
    assert finding.deciding.found.effect == pytest.approx(0, abs=0.002)


def test_gain_under_iid_refutes_that_there_is_none() -> None:
    finding = iid_no_gain(study_of(configs(IID), lambda config: 0.45))
    assert (finding.verdict, finding.deciding.name[:20]) == (NOT_SUPPORTED, "distillation - alone")
    assert finding.deciding.found.effect == pytest.approx(0.05, abs=0.001)


def test_one_measure_that_lags_refutes_that_all_are_alike_and_is_named() -> None:
    study = study_of(configs(IID), lambda config: 0.35 if config.distill.measure == "sed" else 0.4)
    finding = iid_no_gain(study)
    assert (finding.verdict, finding.deciding.name[:8]) == (NOT_SUPPORTED, "sed - kl")


def test_measures_are_held_against_ce_where_it_has_every_cell() -> None:
    finding = iid_no_gain(study_of(configs(IID, ("ce", *MEASURES)), lambda config: 0.4))
    assert "sed - ce, sum, alpha 0.2" in [part.name for part in finding.parts]


def test_gain_that_hangs_on_the_seed_leaves_it_undecided() -> None:
    for_seed = {0: 0.5, 1: 0.3, 2: 0.5, 3: 0.3, 4: 0.45}
    study = study_of(configs(), lambda config: for_seed[config.train.seed])
    assert skewed_gain(study).verdict == UNDECIDED


def test_skewed_gain_is_measured_against_the_same_seed_alone() -> None:
    finding = skewed_gain(study_of(configs(), lambda config: 0.5))
    assert finding.verdict == SUPPORTED
    assert finding.deciding.found.effect == pytest.approx(0.1, abs=0.001)
    assert 0 < finding.noise < 0.01


def test_skewed_gain_is_not_supported_where_distillation_brings_nothing() -> None:
    assert skewed_gain(study_of(configs(), lambda config: 0.4)).verdict == NOT_SUPPORTED


def test_gain_in_one_combination_that_the_other_lacks_is_not_hidden_in_their_mean() -> None:
    finding = skewed_gain(study_of(configs(), lambda config: 0.6 if config.distill.combine == "sum" else 0.4))
    assert finding.verdict == NOT_SUPPORTED
    assert "average" in finding.deciding.name


def test_findings_speak_of_one_data_set_that_with_most_cells() -> None:
    other = DataConfig(data="folder:/data/sunflowers", gamma=15.0)  # no scenes, for all its name
    study = study_of([*configs(), *configs(other, seeds=range(3))], lambda c: 0.5 if c.data == SKEWED else 0.3)
    assert {o.cell.config.data.data for o in study.main} == {"cifar10"}
    assert study.sun == ()
    assert skewed_gain(study).verdict == SUPPORTED


def test_measure_without_enough_seeds_is_not_left_out_for_the_sake_of_more() -> None:
    few = [c for c in configs() if c.distill.measure != "sed" or c.train.seed < 1]
    finding = skewed_gain(study_of(few, lambda config: 0.5))
    assert (finding.verdict, finding.deciding.found.n) == (UNDECIDED, 1)
    assert all("of the same three seeds at least" in each for each in finding.missing)


def test_differences_that_cancel_over_alpha_are_not_alike() -> None:
    apart = {0.2: 0.06, 0.5: 0.0, 0.8: -0.06}
    study = study_of(configs(IID), lambda c: 0.4 + (apart[c.distill.alpha] if c.distill.measure == "sed" else 0.0))
    assert iid_no_gain(study).verdict == NOT_SUPPORTED


def test_balance_has_to_be_the_same_alone() -> None:
    balanced = [replace(c, distill=replace(c.distill, balance="on")) for c in configs()]
    finding = skewed_gain(study_of(balanced, lambda config: 0.5))  # whose lone peers are without balance
    assert (finding.verdict, finding.deciding.found.n) == (UNDECIDED, 0)
    assert any("lone baseline" in each for each in finding.missing)


def wider(measure: str) -> Spread:
    return lambda config: 0.06 if config.distill.measure == measure else 0.02


def test_kl_with_the_widest_spread_over_clients_is_found() -> None:
    finding = kl_varies_most(study_of(configs(), lambda config: 0.5, wider("kl")))
    assert finding.verdict == SUPPORTED
    assert finding.deciding.found.effect == pytest.approx(0.04)


def test_kl_does_not_vary_most_where_td_varies_more() -> None:
    finding = kl_varies_most(study_of(configs(), lambda config: 0.5, wider("td")))
    assert (finding.verdict, finding.deciding.name) == (NOT_SUPPORTED, "kl - td")


def narrow_sed(config: Config) -> float:
    return 0.02 if config.distill.measure == "sed" else 0.05


def test_sed_with_the_narrowest_spread_is_found() -> None:
    assert sed_varies_least(study_of(configs(), lambda config: 0.5, narrow_sed)).verdict == SUPPORTED


def test_sed_as_wide_as_js_is_not_the_narrowest() -> None:
    def spread(config: Config) -> float:
        return 0.02 if config.distill.measure in ("sed", "js") else 0.05

    finding = sed_varies_least(study_of(configs(), lambda config: 0.5, spread))
    assert (finding.verdict, finding.deciding.name[:8]) == (NOT_SUPPORTED, "js - sed")


def test_measure_that_was_not_swept_leaves_a_superlative_undecided() -> None:
    finding = kl_varies_most(study_of(configs(measures=("kl", "js")), lambda config: 0.5, wider("kl")))
    assert finding.verdict == UNDECIDED
    assert any("td" in each for each in finding.missing)


def test_average_as_good_as_sum_in_both_splits_is_supported() -> None:
    study = study_of([*configs(IID), *configs()], lambda config: 0.45)
    assert average_like_sum(study).verdict == SUPPORTED


def test_average_behind_the_sum_in_one_split_is_named() -> None:
    def accuracy(config: Config) -> float:
        return 0.4 if config.distill.combine == "average" and not config.data.iid else 0.45

    finding = average_like_sum(study_of([*configs(IID), *configs()], accuracy))
    assert (finding.verdict, finding.deciding.name[:21]) == (NOT_SUPPORTED, "average - sum, skewed")
    assert finding.deciding.found.effect == pytest.approx(-0.05, abs=0.001)


def test_td_is_the_cheapest_only_if_it_is_at_every_size() -> None:
    times = {"ce": [0.5, 0.5], "kl": [1.0, 1.0], "js": [1.11, 1.12], "td": [0.81, 0.8], "sed": [1.21, 1.2]}
    small = {measure: [*blocks, blocks[0]] for measure, blocks in times.items()}
    assert td_cheapest({"[256, 10]": small}).verdict == SUPPORTED
    large = {**small, "td": [1.3, 1.3, 1.3]}
    finding = td_cheapest({"[256, 10]": small, "[256, 397]": large})
    assert finding.verdict == NOT_SUPPORTED
    assert finding.deciding.name.endswith("[256, 397]")


def test_measures_that_nobody_timed_leave_it_undecided() -> None:
    finding = td_cheapest({})
    assert finding.verdict == UNDECIDED
    assert "benchmarks/measures.py --out" in finding.missing[0]


def sun_grid() -> list[Config]:
    where = [("sum", 0.0), ("sum", 0.8), ("average", 0.0), ("average", 0.2)]
    return [c for combine, alpha in where for c in configs(SUN, ("ce", *MEASURES), [alpha], [combine])]


def test_ce_and_kl_behind_the_others_on_sun_scenes_is_found() -> None:
    study = study_of(sun_grid(), lambda config: 0.5 if config.distill.measure in ("ce", "kl") else 0.55)
    finding = sun_ce_kl_behind(study)
    assert finding.verdict == SUPPORTED
    assert finding.deciding.found.effect == pytest.approx(0.05, abs=0.001)
    assert skewed_gain(study).deciding.found.n == 0  # speaks of other data


def test_equal_measures_on_sun_scenes_refute_it() -> None:
    assert sun_ce_kl_behind(study_of(sun_grid(), lambda config: 0.5)).verdict == NOT_SUPPORTED


def heads_finding(deep_second: float) -> Finding:
    cells = []
    for layers in ("none", "512,256"):
        model = ModelConfig(heads=2, head_layers=layers)
        for config in configs(SUN, ("kl",), [0.5], ["average"], model=model):
            second = (deep_second if layers != "none" else 0.56) + wobble(config)
            cells.append(outcome(TOGETHER, config, second, heads=(0.57, second)))
    return sun_deep_head_overfits(study_from(cells))


def test_deep_second_head_that_falls_behind_overfits() -> None:
    finding = heads_finding(0.48)
    assert finding.verdict == SUPPORTED
    effects = {part.name: part.found.effect for part in finding.parts}
    assert effects["first head - second head (512,256)"] == pytest.approx(0.09, abs=0.001)
    assert effects["linear - 512,256 second head"] == pytest.approx(0.08, abs=0.002)


def test_deep_second_head_as_good_as_the_others_does_not() -> None:
    assert heads_finding(0.57).verdict == NOT_SUPPORTED


def test_at_alpha_0_the_first_head_learns_nothing_and_is_not_compared() -> None:
    model = ModelConfig(heads=2, head_layers="512,256")
    cells = [
        outcome(TOGETHER, config, 0.5, heads=(0.1 if config.distill.alpha == 0 else 0.52, 0.5))
        for config in configs(SUN, ("kl",), [0.0, 0.5], ["average"], model=model)
    ]
    finding = sun_deep_head_overfits(study_from(cells))
    (beside,) = [part for part in finding.parts if not part.decides]
    assert beside.found.effect == pytest.approx(0.02)
    assert finding.verdict == UNDECIDED  # there is no linear head to hold the deep one against


def test_control_shows_what_lies_between_ce_and_kl() -> None:
    study = study_of(configs(measures=("ce", *MEASURES), combines=["sum"]), lambda config: 0.5)
    control = ce_like_kl(study)
    assert control.verdict == SUPPORTED
    assert abs(control.deciding.found.effect) < 0.002
    assert "largest |ce - kl|" in control.remark


def test_without_any_cells_each_finding_is_undecided_and_says_what_is_missing() -> None:
    study = study_of(configs(measures=("mse",), combines=["geometric"]), lambda config: 0.5)
    findings = [iid_no_gain, skewed_gain, kl_varies_most, sed_varies_least, average_like_sum]
    for make in [*findings, sun_ce_kl_behind, sun_deep_head_overfits, ce_like_kl]:
        finding = make(study)
        assert (finding.verdict, finding.deciding.found.n) == (UNDECIDED, 0), finding.id
        assert finding.missing, finding.id


def test_one_seed_is_too_few() -> None:
    finding = skewed_gain(study_of(configs(seeds=[3]), lambda config: 0.5))
    assert (finding.verdict, finding.deciding.found.n) == (UNDECIDED, 1)
    assert finding.missing


def test_cells_of_a_scale_grid_do_not_enter_the_findings() -> None:
    grid = configs()
    heavy = [
        replace(c, distill=replace(c.distill, kd_weight=64.0)) for c in configs(alphas=[0.5], combines=["average"])
    ]
    study = study_of([*grid, *heavy], lambda config: 0.1 if config.distill.kd_weight == 64 else 0.5)
    assert skewed_gain(study).deciding.found.effect == pytest.approx(0.1, abs=0.001)
