"""A sweep's grid: every combination once, baselines shared."""

from typing import Any

import pytest

from edgekd.config import from_mapping, to_mapping
from edgekd.errors import ConfigError
from edgekd.lab.sweep.grid import configs, listed, plan
from edgekd.lab.sweep.records import ALONE, POOLED, TOGETHER


def test_every_combination_of_lists_is_a_config_seed_by_seed() -> None:
    found = list(configs({"distill": {"measure": ["kl", "sed"], "alpha": [0.2, 0.5]}, "train": {"seed": [1, 0]}}))
    assert [(c.train.seed, c.distill.measure, c.distill.alpha) for c in found] == [
        (seed, measure, alpha) for seed in (0, 1) for measure in ("kl", "sed") for alpha in (0.2, 0.5)
    ]


def test_split_takes_the_place_of_the_three_settings() -> None:
    found = list(configs({"data": {"split": ["iid", "gamma:3", "dirichlet:0.5"]}}))
    assert [(c.data.iid, c.data.gamma, c.data.dirichlet) for c in found] == [
        (True, None, None),
        (False, 3.0, None),
        (False, None, 0.5),
    ]


def test_each_grid_is_laid_over_the_rest_and_what_two_share_is_one() -> None:
    tables = {
        "distill": {"measure": ["kl", "js"]},
        "grid": [{"distill": {"alpha": [0.2, 0.5]}}, {"distill": {"alpha": [0.5, 0.0]}, "model": {"heads": 2}}],
    }
    found = list(configs(tables))
    assert len(found) == 8
    again = list(configs({"grid": [{"distill": {"alpha": [0.2, 0.5]}}, {"distill": {"alpha": 0.5}}]}))
    assert [c.distill.alpha for c in again] == [0.2, 0.5]


def test_file_without_lists_is_one_cell() -> None:
    assert list(configs({"data": {"gamma": 15.0}})) == [from_mapping({"data": {"gamma": 15.0}})]


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"data": {"split": ["half"]}}, "split must be iid, gamma:G or dirichlet:B, got half"),
        ({"data": {"split": "iid:3"}}, "split must be iid"),
        ({"data": {"split": "gamma:x"}}, "gamma must be a number, got 'x'"),
        ({"data": {"split": "iid", "gamma": 3.0}}, "choose one of iid, gamma"),
        ({"distill": {"alpha": []}}, r"\[distill\] alpha is an empty list"),
        ({"distill": {"alhpa": [1]}}, "unknown setting 'alhpa'"),
        ({"distill": 3}, r"\[distill\] must be a table"),
        ({"grid": 3}, r"write \[\[grid\]\]"),
        ({"grid": [{"distill": 3}]}, r"\[distill\] must be a table"),
        ({"distil": {"alpha": 1.0}}, r"unknown section \[distil\]"),
        ({"train": {"threads": ["auto", 1]}}, "threads auto depends on the machine"),
        ({"grid": [{"train": {"precision": "auto"}}]}, "precision auto .* choose float32 or bfloat16"),
    ],
)
def test_wrong_grid_is_refused(tables: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        list(configs(tables))


def test_flags_are_cut_at_commas_but_for_settings_that_hold_them() -> None:
    assert listed("alpha", float, "0.2, 0.5") == [0.2, 0.5]
    assert listed("two_phase", bool, "on,false") == [True, False]
    assert listed("head_layers", str, "512,256") == ["512,256"]
    assert listed("model", str, "resnet18,resnet34,resnet18") == ["resnet18,resnet34,resnet18"]
    for kind, text in ((int, "1,x"), (float, ""), (bool, "maybe")):
        with pytest.raises(ConfigError, match="seed must be"):
            listed("seed", kind, text)


def test_baselines_come_first_and_each_once_however_many_cells_share_it() -> None:
    tables = {
        "distill": {"measure": ["kl", "sed"], "alpha": [0.5, 1.0], "balance": ["on", "off"]},
        "model": {"heads": [1, 2]},
        "train": {"seed": [0, 1]},
    }
    grid = list(configs(tables))
    cells = plan(grid, baseline=True)
    kinds = [cell.kind for cell in cells]
    assert kinds.count(TOGETHER) == 2 * 2 * 2 * 2
    assert kinds.count(ALONE) == 2 * 2  # balance x seed
    assert kinds.count(POOLED) == 2
    assert TOGETHER not in kinds[: kinds.index(TOGETHER)]
    assert set(kinds[kinds.index(TOGETHER) :]) == {TOGETHER}
    assert len({cell.name for cell in cells}) == len(cells)
    without = plan(grid, baseline=False)
    assert [cell.kind for cell in without].count(ALONE) == 4
    assert POOLED not in [cell.kind for cell in without]


def test_baselines_of_a_grid_that_names_no_alpha_one_are_alone_with_and_without_balance() -> None:
    cells = plan(list(configs({"distill": {"balance": "on"}})), baseline=True)
    assert [(cell.kind, cell.config.distill.balance) for cell in cells] == [
        (ALONE, "off"),
        (ALONE, "on"),
        (POOLED, "off"),
        (TOGETHER, "on"),
    ]


def test_what_has_no_part_in_a_result_makes_no_other_cell() -> None:
    idle = {"max_age": [16, 64], "linger": [0.0, 60.0], "wait_for": [0, 2]}
    tables: dict[str, Any] = {"exchange": idle, "train": {"eval_every": [0, 5], "checkpoint_every": [0, 200]}}
    tables["data"] = {"cache": ["here", "there"]}
    assert plan(list(configs(tables)), baseline=False) == plan(list(configs({})), baseline=False)
    one_seed = {"data": {"data_seed": 3}, "train": {"seed": 3}}
    assert plan(list(configs(one_seed)), baseline=False) == plan(list(configs({"train": {"seed": 3}})), baseline=False)


def test_cell_without_liars_is_called_as_before_there_were_any_and_baselines_hear_none() -> None:
    tables = {"exchange": {"liars": [0, 1], "lie": ["flip", "swap"]}}
    cells = plan(list(configs(tables)), baseline=True)
    assert [cell.kind for cell in cells].count(TOGETHER) == 3
    assert cells == [*plan(list(configs({})), baseline=True), *cells[-2:]]
    (default,) = plan(list(configs({})), baseline=False)
    assert not {"liars", "lie"} & set(to_mapping(default.config)["exchange"])


@pytest.mark.parametrize(
    ("exchange", "says"),
    [
        ({"liars": 1}, "liars need a lie: choose one of random, flip, constant, swap"),
        ({"liars": 3, "lie": "flip"}, "liars must be fewer than the 3 clients, got 3"),
        ({"liars": -1, "lie": "flip"}, "liars must be >= 0, got -1"),
        ({"liars": 1, "lie": "white"}, "lie must be one of random, flip, constant, swap, got white"),
    ],
)
def test_wrong_liars_are_refused(exchange: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        list(configs({"exchange": exchange}))


def test_defaults_are_written_out() -> None:
    (cell,) = plan(list(configs({"data": {"data": "sun397"}})), baseline=False)
    found = cell.config
    assert (found.data.gamma, found.model.weights, found.train.lr, found.train.augment) == (
        10.0,
        "imagenet",
        0.001,
        "crop+flip",
    )
    explicit = {"data": {"gamma": 15.0}, "model": {"weights": "none"}, "train": {"lr": 0.03, "augment": "crop"}}
    assert plan(list(configs(explicit)), baseline=True) == plan(list(configs({})), baseline=True)


def test_baselines_do_not_depend_on_how_public_images_are_augmented() -> None:
    tables = {"data": {"public_augment": ["none", "crop+flip"]}}
    kinds = [cell.kind for cell in plan(list(configs(tables)), baseline=True)]
    assert [kinds.count(kind) for kind in (ALONE, POOLED, TOGETHER)] == [2, 1, 2]


def test_baselines_depend_on_where_batch_norm_looks_only_if_its_statistics_are_frozen() -> None:
    tables = {"train": {"norm_from": ["private", "public", "both", "frozen"]}, "model": {"weights": "imagenet"}}
    cells = plan(list(configs(tables)), baseline=True)
    found = {kind: {cell.config.norm_from for cell in cells if cell.kind == kind} for kind in (ALONE, POOLED, TOGETHER)}
    assert found[ALONE] == found[POOLED] == {"private", "frozen"}
    assert found[TOGETHER] == {"private", "public", "both", "frozen"}
