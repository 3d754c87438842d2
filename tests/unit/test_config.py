"""Settings: refused with the rule, the value and what is allowed."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from edgekd.config import (
    Config,
    DataConfig,
    DistillConfig,
    ExchangeConfig,
    TrainConfig,
    from_mapping,
    overlay,
    read_toml,
    to_mapping,
    written_out,
)
from edgekd.config.presets import PRESETS, find_preset
from edgekd.config.recipes import PRETRAINED, SCRATCH
from edgekd.errors import ConfigError


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"distill": {"temprature": 2.0}}, "unknown setting 'temprature' in [distill]; known: alpha, balance"),
        ({"distil": {}}, "unknown section [distil]; known: data, distill, model, train, exchange"),
        ({"distill": {"alpha": 1.5}}, "alpha must be in [0, 1], got 1.5"),
        ({"data": {"rescan": 5.0}}, "--rescan goes with --private folder:PATH"),
        ({"data": {"keep": 5}}, "--keep goes with --private folder:PATH"),
        ({"data": {"private": "folder:own", "rescan": 0.0}}, "rescan must be from 0.05 to 86400 seconds, got 0.0"),
        (
            {"data": {"private": "folder:own", "keep": 1}},
            "keep must be >= 2: one to train on, one to evaluate on, got 1",
        ),
        (
            {"data": {"private": "folder:own", "rescan": 5.0}, "exchange": {"sync": 3.0}},
            "rescan and sync exclude one another: lockstep trains the same whenever it is repeated",
        ),
        ({"distill": {"alpha": float("nan")}}, "alpha must be finite, got nan"),
        ({"distill": {"alpha": 0.0}}, "alpha 0 uses no labels"),
        (
            {"distill": {"combine": "mode"}},
            "combine must be one of sum, average, geometric, confident, median, trimmed, agreement, nway, FILE.py",
        ),
        ({"distill": {"combine": "nway"}}, "combine nway goes with measure js or sed"),
        ({"distill": {"combine": "nway", "measure": "js", "sharpen": 2.0}}, "no sharpening, got js and sharpen 2"),
        ({"distill": {"sharpen": 0.0}}, "sharpen must be > 0, got 0.0"),
        ({"model": {"heads": 0}}, "heads must be from 1 to 16, got 0"),
        ({"model": {"head_layers": "512,x"}}, "head_layers must be none or widths from 1 to 65536 such as 512,256"),
        ({"distill": {"two_phase": True}, "model": {"heads": 3}}, "two_phase goes with 1 or 2 heads"),
        ({"distill": {"two_phase": True}, "train": {"steps": 0}}, "two_phase needs an end and two steps, got steps 0"),
        ({"distill": {"measure": "hellinger"}}, "measure must be one of ce, kl, js, td, sed, mse, FILE.py:function"),
        ({"distill": {"alpha": "half"}}, "[distill] alpha must be float, got 'half'"),
        ({"train": {"steps": True}}, "[train] steps must be int, got True"),
        ({"train": {"batch": 1}}, "batch must be >= 2"),
        ({"data": {"data": "mnist"}}, "data must be digits, cifar10, sun397 or a folder that exists, got mnist"),
        ({"data": {"iid": True, "gamma": 3.0}}, "choose one of iid, gamma and dirichlet, got iid and gamma"),
        ({"data": {"public": "x"}}, "--public goes with --private folder:PATH"),
        ({"exchange": {"broadcast_every": 0}}, "broadcast_every must be >= 1, got 0"),
        ({"distill": {"temperature": float("inf")}}, "temperature must be finite, got inf"),
        ({"train": {"steps": 10**20}}, "steps must be at most 2147483647"),
        ({"exchange": {"linger": float("nan")}}, "linger must be >= 0 seconds, got nan"),
        ({"train": 5}, "[train] must be a table"),
    ],
)
def test_wrong_setting_is_refused_with_rule_and_value(tables: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        from_mapping(tables)
    assert message in str(error.value)


def test_whole_numbers_are_taken_for_settings_that_are_fractions() -> None:
    assert from_mapping({"distill": {"temperature": 2}}).distill.temperature == 2.0


def test_config_survives_a_toml_file(tmp_path: Path) -> None:
    config = from_mapping({"data": {"gamma": 15.0}, "exchange": {"sync": float("inf"), "linger": 3.0}})
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps(to_mapping(config)))
    assert from_mapping(read_toml(path)) == config


def test_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[train\n")
    with pytest.raises(ConfigError, match=r"config\.toml is not valid TOML"):
        read_toml(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_toml(tmp_path / "none.toml")


def test_seed_of_the_group_is_the_seed_unless_given() -> None:
    assert from_mapping({"train": {"seed": 3}}).data_seed == 3
    assert from_mapping({"train": {"seed": 3}, "data": {"data_seed": 0}}).data_seed == 0


def test_real_images_start_from_imagenet_and_digits_from_scratch() -> None:
    assert Config().weights == "none"
    assert from_mapping({"data": {"data": "folder:x"}}).weights == "imagenet"
    assert from_mapping({"data": {"data": "folder:x"}, "model": {"weights": "none"}}).weights == "none"


PHOTOS: dict[str, dict[str, object]] = {"data": {"data": "folder:x"}}


def test_defaults_follow_from_whether_the_weights_are_pretrained() -> None:
    scratch, pretrained = Config(), from_mapping(PHOTOS)
    for config, recipe in ((scratch, SCRATCH), (pretrained, PRETRAINED)):
        assert config.recipe == recipe
        assert (config.steps, config.batch, config.optimiser) == (recipe.steps, recipe.batch, recipe.optimiser)
        assert (config.norm_from, config.head_start) == (recipe.norm_from, recipe.head_start)
        assert (config.head_end, config.freeze) == (recipe.head_end, recipe.freeze)
        assert config.data.public_augmentation == ("none" if config.data.digits else "crop+flip-each")
    assert (scratch.kd_weight, scratch.peak_lr) == (2.0, 0.03)
    assert (pretrained.kd_weight, pretrained.peak_lr) == (4.0, 0.001)


def test_what_a_group_shares_does_not_follow_from_the_network_of_one_peer() -> None:
    for weights in ("none", "imagenet"):
        config = from_mapping({**PHOTOS, "model": {"weights": weights}})
        assert (config.public_batch, config.data.public_augmentation) == (80, "crop+flip-each")


@pytest.mark.parametrize(
    "other",
    [
        {"model": {"heads": 2}},
        {"distill": {"two_phase": True}},
        {"train": {"steps": 0}},
        {"simulation": {"on_private": True}},
    ],
)
def test_head_ends_as_it_was_trained_by_default_where_it_cannot_end_otherwise(other: dict[str, Any]) -> None:
    assert from_mapping({**PHOTOS, **other}).head_end == "trained"


def test_settings_that_follow_are_written_out_and_mean_the_same_when_they_are_read() -> None:
    for tables in ({}, PHOTOS, {**PHOTOS, "train": {"optimiser": "sgd"}}):
        config = written_out(from_mapping(tables))
        assert written_out(from_mapping(to_mapping(config))) == config
        assert all(value is not None for value in (config.train.steps, config.train.batch, config.train.public_batch))


def test_copy_with_a_wrong_value_is_refused_too() -> None:
    with pytest.raises(ConfigError):
        replace(DistillConfig(), kd_weight=-1.0)


def test_digits_are_not_mirrored_and_photos_are() -> None:
    assert Config().augment == "crop"
    assert from_mapping({"data": {"data": "folder:x"}}).augment == "crop+flip"
    assert from_mapping({"train": {"augment": "none"}}).augment == "none"


def test_tables_are_laid_over_one_another_setting_by_setting_and_splits_exclude_each_other() -> None:
    below = {"data": {"iid": True, "size": 32}, "train": {"seed": 1}, "grid": [{}]}
    above = {"data": {"gamma": 3.0}, "train": {"steps": 5}, "model": {"heads": 2}}
    assert overlay(below, above) == {
        "data": {"size": 32, "gamma": 3.0},
        "train": {"seed": 1, "steps": 5},
        "grid": [{}],
        "model": {"heads": 2},
    }
    assert overlay({"data": {"split": ["iid"]}}, {"data": {"dirichlet": 1.0}}) == {"data": {"dirichlet": 1.0}}
    assert overlay({"train": 5}, {"train": {"steps": 5}}) == {"train": 5}, "to be refused when it is read"


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("paper")])
def test_preset_is_a_config_under_flags(name: str) -> None:
    config = from_mapping(overlay(find_preset(name), {"train": {"steps": 40}, "data": {"data": "cifar10"}}))
    assert (config.model.heads, config.distill.two_phase, config.distill.balance) == (2, True, "off")
    assert (config.steps, config.batch, config.peak_lr) == (40, 128, 0.001)
    assert config.data.size == 224


def test_presets_differ_in_what_the_text_and_the_script_say_differently() -> None:
    text, code = (from_mapping(find_preset(f"paper-{name}")) for name in ("text", "code"))
    assert (text.distill.combine, code.distill.combine) == ("average", "geometric")
    assert (text.distill.kd_reduction, code.distill.kd_reduction) == ("mean", "sum")
    assert (text.augment, code.augment) == ("crop+flip", "none")
    same = replace(code.distill, combine="average", kd_reduction="mean")
    assert text == replace(code, distill=same, train=replace(code.train, augment="crop+flip"))
    with pytest.raises(ConfigError, match="preset must be one of light, paper-text, paper-code, got paper"):
        find_preset("paper")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: Config(train={"steps": 1}),
            "train must be a TrainConfig, got {'steps': 1}; edgekd.Config.of",
        ),
        (lambda: TrainConfig(steps="5"), "steps must be int, got '5'"),
        (lambda: TrainConfig(seed=None), "seed must be int, got None"),
        (lambda: TrainConfig(seed=True), "seed must be int, got True"),
        (lambda: TrainConfig(threads=True), "threads must be int or auto, got True"),
        (lambda: TrainConfig(threads="all"), "threads must be int or auto, got 'all'"),
        (lambda: DataConfig(data=None), "data must be str, got None"),
        (lambda: ExchangeConfig(topology=3), "topology must be str, got 3"),
    ],
)
def test_value_of_another_type_is_an_error_when_a_config_is_made(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        make()


def test_plain_path_of_a_folder_is_taken_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for given in ("pictures", "./elsewhere", "~/pictures", "/a/b", "folder:pictures"):
        assert DataConfig(data=given).data == f"folder:{given.removeprefix('folder:')}"
    assert DataConfig(data="digits").data == "digits"
    own = DataConfig(private="mine", public="p", eval="theirs")
    assert (own.private, own.eval) == ("folder:mine", "folder:theirs")


@pytest.mark.parametrize("tables", [{"data": {"cache": "a\0b"}}, {"exchange": {"certs": "\0"}}])
def test_nul_in_a_setting_is_an_error(tables: dict[str, dict[str, object]]) -> None:
    with pytest.raises(ConfigError, match="must not hold the character NUL"):
        from_mapping(tables)
