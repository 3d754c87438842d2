"""`Config.of` and `Config.load`: settings by their names alone, and from a file; objects in the place of names."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgekd.config import Config, DistillConfig, TrainConfig, from_mapping, read_toml, to_mapping
from edgekd.errors import ConfigError
from edgekd.files.runs import write_config


def hellinger(q: Tensor, z: Tensor) -> Tensor:
    return 1 - (q.sqrt() * z.softmax(-1).sqrt()).sum(-1)


class Net(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.last = nn.Linear(3, classes)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.last(images.mean(dim=(2, 3)))
        return found


def test_flat_names_find_their_sections() -> None:
    made = Config.of(measure="sed", steps=50, wait_for=None)
    assert made == Config(distill=DistillConfig(measure="sed"), train=TrainConfig(steps=50))


def test_misspelt_setting_is_refused_and_the_known_ones_are_listed() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown setting 'mesure'; known: allow, alpha, .*measure.*; did you mean measure\?"
    ):
        Config.of(mesure="sed")


def test_value_of_another_type_is_refused_with_its_section() -> None:
    with pytest.raises(ConfigError, match=r"\[train\] steps must be int, got '50'"):
        Config.of(steps="50")


def test_file_is_loaded_and_given_settings_win_over_it(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[distill]\nmeasure = "sed"\nalpha = 0.8\n')
    assert Config.load(tmp_path / "mine.toml", alpha=0.2).distill == DistillConfig(measure="sed", alpha=0.2)


def test_file_alone_never_names_a_network_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[model]\nmodel = "mynet:make"\n')
    with pytest.raises(ConfigError, match="no code is run on a file's word"):
        Config.load(tmp_path / "mine.toml")
    assert Config.load(tmp_path / "mine.toml", model=Net).model.model is Net


def test_objects_stand_in_the_place_of_names() -> None:
    images = [(torch.zeros(3, 8, 8), 0)]
    made = Config.of(measure=hellinger, combine=lambda t: t, model=Net(10), data=images)
    assert made.distill.measure is hellinger
    assert made.data.data is images
    assert made.weights == "none", "as for a network of one's own that has a name"


@pytest.mark.parametrize("name", ["temperature", "transport", "certs", "public"])
def test_other_settings_take_no_function(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be"):
        Config.of(**{name: hellinger})


def test_file_of_a_run_names_its_objects_and_they_cannot_be_had_from_there(tmp_path: Path) -> None:
    made = Config.of(measure=hellinger, model=Net, data=[(torch.zeros(3, 8, 8), 0)])
    write_config(tmp_path, made)
    tables = read_toml(tmp_path / "config.toml")
    assert (tables["distill"]["measure"], tables["model"]["model"]) == ("object:hellinger", "object:Net")
    assert tables["data"]["data"] == "object:list"
    assert to_mapping(from_mapping(tables))["distill"]["measure"] == "object:hellinger", "it is a name like others"
    with pytest.raises(ConfigError, match="model was object:Net, an object that a Python program had handed in"):
        Config.load(tmp_path / "config.toml")
    again = Config.load(tmp_path / "config.toml", model=Net, measure=hellinger)
    assert (again.model.model, again.distill.measure) == (Net, hellinger)


@pytest.mark.parametrize("name", ["rescan", "keep"])
def test_pictures_that_come_and_go_are_those_of_a_folder(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} goes with a private folder"):
        Config.of(private=[(torch.zeros(3, 8, 8), 0)], public="public.safetensors", **{name: 10})


def test_none_replaces_a_value_of_the_file_by_the_default(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[train]\nsteps = 5\n[exchange]\nsync = inf\nwait_for = 1\n")
    loaded = Config.load(tmp_path / "mine.toml", steps=None, sync=None)
    assert (loaded.steps, loaded.exchange.sync, loaded.exchange.wait_for) == (Config.of().steps, None, 1)


def test_data_set_that_is_an_object_is_equal_to_itself_alone_and_is_shown_by_its_name() -> None:
    images = [(torch.zeros(3, 8, 8), 0)] * 1000
    made = Config.of(data=images)
    assert made == Config.of(data=images) != Config.of(data=list(images))
    assert hash(made) == hash(Config.of(data=images))
    assert made != Config.of()
    assert "data=object:list" in repr(made)
    assert len(repr(made)) < 5000
    assert "data='digits'" in repr(Config.of())
