"""The network of a checkpoint is found, whatever names it, and is the one that was trained."""

import json
import logging
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import torchvision
from networks import CLASSES, MODEL, SIZE, images, network, write_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from edgekd.data.augment import normalise
from edgekd.errors import ConfigError
from edgekd.files.atomic import write_atomically
from edgekd.files.checkpoint import link_current, load_checkpoint
from edgekd.files.tensors import safetensors_pieces, tensors_sha256
from edgekd.learning.evaluation import Accuracy
from edgekd.use.trained import load_trained


def test_newest_checkpoint_of_a_peer_is_found_by_its_folder_and_by_its_file(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, step=20)
    file = write_checkpoint(tmp_path, step=40)
    for where in (tmp_path, file):
        found = load_trained(where)
        assert (found.info.step, found.folder, found.classes, found.size) == (40, tmp_path, CLASSES, SIZE)
        assert not found.classifier.training


def test_only_peer_of_a_run_is_found_and_of_several_one_must_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "peer-5").mkdir()  # it has written no checkpoint
    write_checkpoint(tmp_path / "peer-10", id=10)
    assert load_trained(tmp_path).info.id == 10
    write_checkpoint(tmp_path / "peer-2", id=2)
    with pytest.raises(ConfigError, match="several peers: choose one with --peer, of 2, 10"):
        load_trained(tmp_path)
    assert load_trained(tmp_path, peer=2).info.id == 2
    with pytest.raises(ConfigError, match="no checkpoint of peer 5; it has those of 2, 10"):
        load_trained(tmp_path, peer=5)
    with pytest.raises(ConfigError, match="is of peer 2, not of peer 10"):
        load_trained(tmp_path / "peer-2", peer=10)


@pytest.mark.parametrize("name", ["", "model.onnx", "summary.json", "nothing"])
def test_what_is_no_checkpoint_is_named(tmp_path: Path, name: str) -> None:
    for file in ("model.onnx", "summary.json"):
        (tmp_path / file).write_text("{}")
    where = tmp_path / name
    says = {
        "": "no checkpoint in .*; simulations write none",
        "model.onnx": "is an exported file: run it with onnxruntime",
        "summary.json": "is not a readable checkpoint",
        "nothing": "there is no file or folder",
    }
    with pytest.raises(ConfigError, match=says[name]):
        load_trained(where)


def test_folder_of_damaged_checkpoints_is_named_and_a_sound_one_before_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "checkpoint-00000080.safetensors").write_bytes(b"damaged")
    with caplog.at_level(logging.CRITICAL), pytest.raises(ConfigError, match="no sound checkpoint in"):
        load_trained(tmp_path)
    write_checkpoint(tmp_path, step=60)
    assert load_trained(tmp_path).info.step == 60
    assert "trying the one before it" in caplog.text


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"colour": "red"}, "this one does not know 'colour'"), ({"size": None}, "'size' is missing")],
)
def test_checkpoint_of_another_version_says_so(tmp_path: Path, changes: dict, says: str) -> None:
    path = write_checkpoint(tmp_path)
    with safe_open(path, framework="pt") as file:
        entry = {**json.loads(file.metadata()["edgekd"]), **changes}
    entry = {name: value for name, value in entry.items() if value is not None and name != "sha256"}
    state = load_file(path)
    entry["sha256"] = tensors_sha256(state, json.dumps(entry, sort_keys=True).encode())
    write_atomically(path, safetensors_pieces(state, {"edgekd": json.dumps(entry)}))
    with pytest.raises(ConfigError, match=rf"another version of edgekd wrote it \({says}\)"):
        load_checkpoint(path)


def test_checkpoint_that_does_not_fit_its_network_is_one_line(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, heads=2)
    with pytest.raises(ConfigError, match=f"does not fit {MODEL} as it is in this version: ") as error:
        load_trained(tmp_path)
    assert "\n" not in str(error.value)


def test_network_of_several_heads_answers_with_its_last(tmp_path: Path) -> None:
    model = network(heads=3)
    write_checkpoint(tmp_path, model, heads=3)
    found = load_trained(tmp_path)
    pixels = normalise(images(5))
    assert torch.equal(found.network()(pixels), model(pixels)[-1])
    assert not torch.equal(found.network()(pixels), model(pixels)[0])


@pytest.mark.parametrize(("frozen", "answering"), [(None, 0), ("as it is", 0), ("moved", 1)])
def test_in_the_first_of_two_phases_head_0_answers(tmp_path: Path, frozen: str | None, answering: int) -> None:
    model = network(heads=2)
    kept = {} if frozen is None else {f"frozen.{name}": t.clone() for name, t in model.state_dict().items()}
    if frozen == "moved":
        kept["frozen.heads.0.bias"] += 1
    write_checkpoint(tmp_path, model, heads=2, made_with={"two_phase": True}, state=kept)
    pixels = normalise(images(5))
    assert torch.equal(load_trained(tmp_path).network()(pixels), model(pixels)[answering])


def test_state_of_the_network_has_the_names_of_torchvision(tmp_path: Path) -> None:
    model = network()
    write_checkpoint(tmp_path, model)
    theirs = torchvision.models.get_model(MODEL, num_classes=len(CLASSES)).eval()
    theirs.load_state_dict(load_trained(tmp_path).network().state_dict())
    pixels = normalise(images(3))
    assert torch.equal(theirs(pixels), model(pixels)[0])


def test_metadata_say_what_a_user_of_the_file_needs(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    about = load_trained(tmp_path).metadata()
    assert json.loads(about["classes"]) == list(CLASSES)
    assert (about["size"], about["accuracy"], about["accuracy_samples"]) == ("32", "0.500000", "180")
    assert about["accuracy_step"] == about["step"] == "60"
    assert (about["public_sha256"], about["edgekd_version"]) == ("ab" * 32, version("edgekd"))


def test_metadata_name_the_step_that_the_accuracy_is_of_and_without_one_no_accuracy(tmp_path: Path) -> None:
    accuracy = Accuracy(0.5, 0.75, (0.5,), 180, step=40)
    about = load_trained(write_checkpoint(tmp_path, accuracy=accuracy)).metadata()
    assert (about["step"], about["accuracy"], about["accuracy_step"]) == ("60", "0.500000", "40")
    about = load_trained(write_checkpoint(tmp_path, accuracy=replace(accuracy, step=None))).metadata()
    assert not [name for name in about if name.startswith("accuracy")]


def test_link_to_a_checkpoint_is_called_by_the_name_of_the_file(tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path / "box")
    link_current(file)
    (tmp_path / "mine").symlink_to(tmp_path / "box" / "current")
    for link in (tmp_path / "box" / "current", tmp_path / "mine"):
        trained = load_trained(link)
        assert trained.metadata()["checkpoint"] == file.name
        assert trained.folder == file.parent


def test_older_checkpoint_has_neither_public_set_nor_accuracy(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, made_with={}, accuracy=None)
    assert not load_trained(tmp_path).metadata().keys() & {"public_sha256", "accuracy", "accuracy_samples"}


def test_finding_a_network_draws_no_random_number_of_the_callers(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    before = torch.get_rng_state()
    load_trained(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_plain_weights_are_no_checkpoint(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(ConfigError, match="it holds plain weights, no checkpoint of a peer"):
        load_trained(tmp_path / "weights.safetensors")
