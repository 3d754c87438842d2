"""Checkpoints: whole or not at all, checked when read, the last few kept."""

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from edgekd.config import Config, DataConfig, TrainConfig
from edgekd.contract import check_same, data_definition, definition_before, evaluation_definition
from edgekd.errors import ConfigError
from edgekd.files.atomic import write_atomically
from edgekd.files.checkpoint import (
    KEEP,
    CheckpointInfo,
    link_current,
    load_best,
    load_checkpoint,
    load_newest,
    peer_in,
    save_best,
    save_checkpoint,
)
from edgekd.files.folders import checkpoints
from edgekd.files.runs import write_config
from edgekd.files.summary import PeerSummary
from edgekd.files.tensors import safetensors_pieces, tensors_sha256
from edgekd.learning.evaluation import Accuracy
from edgekd.learning.learner import Losses
from peer.node.recorder import Recorder, check_unused

INFO = CheckpointInfo(
    id=1,
    step=120,
    round=130,
    model="resnet18",
    classes=("cat", "dog"),
    size=32,
    heads=1,
    head_layers="512,256",
    counts={"lessons": 7},
    accuracy=Accuracy(0.5, 0.75, (0.5,), 180),
    made_with={"limit": 600, "gamma": 15.0, "dirichlet": None},
)
STATE = {
    "model.w": torch.arange(6.0).reshape(2, 3),
    "momentum.w": torch.ones(2, 3),
    "score.2": torch.tensor(0.25),
}


def test_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    info, state = load_checkpoint(save_checkpoint(tmp_path, INFO, STATE))
    assert info == INFO
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000120.safetensors"], (
        "no temporary file is left"
    )


def test_confusions_stay_out_of_checkpoints_which_many_classes_would_make_long(tmp_path: Path) -> None:
    counted = Accuracy(0.5, 0.75, (0.5,), 180, ((0, 0, 90), (1, 0, 90)))
    path = save_checkpoint(tmp_path, replace(INFO, accuracy=counted), STATE)
    assert path.read_bytes() == save_checkpoint(tmp_path, INFO, STATE).read_bytes()


def test_damage_at_any_byte_is_noticed_and_the_one_before_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_checkpoint(tmp_path, replace(INFO, step=100), STATE)
    path = save_checkpoint(tmp_path, INFO, STATE)
    sound = path.read_bytes()
    for place in range(0, len(sound), 3):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        found = load_newest(tmp_path)
        assert found is not None
        assert found[0].step == 100, f"byte {place}"
    path.write_bytes(sound[: len(sound) // 2])
    found = load_newest(tmp_path)
    assert found is not None
    assert found[0].step == 100
    assert "trying the one before it" in caplog.text


def test_only_the_last_few_are_kept_and_the_one_just_written_always(tmp_path: Path) -> None:
    for step in (200, 400, 600):
        save_checkpoint(tmp_path, replace(INFO, step=step), STATE)
    assert len(checkpoints(tmp_path)) == KEEP
    just = save_checkpoint(tmp_path, replace(INFO, step=120), STATE)
    assert just in checkpoints(tmp_path)


def test_best_is_apart_from_the_newest_and_replaced_alone(tmp_path: Path) -> None:
    assert load_best(tmp_path) is None
    save_best(tmp_path, replace(INFO, step=150), STATE)
    for step in (200, 400, 600):
        save_checkpoint(tmp_path, replace(INFO, step=step), STATE)
    best = load_best(tmp_path)
    assert best is not None
    assert (best.info.step, best.path, len(list(tmp_path.iterdir()))) == (150, tmp_path / "best.safetensors", KEEP + 1)
    save_best(tmp_path, replace(INFO, step=700), STATE)
    newest, best = load_newest(tmp_path), load_best(tmp_path)
    assert newest is not None
    assert best is not None
    assert (newest.info.step, best.info.step) == (600, 700)


def test_best_is_gone_on_from_where_there_is_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_best(tmp_path, INFO, STATE)
    (tmp_path / "checkpoint-00000999.safetensors").write_bytes(b"damaged")
    found = load_newest(tmp_path)
    assert found is not None
    assert found.path == tmp_path / "best.safetensors"
    assert "trying the one before it" in caplog.text
    assert peer_in(tmp_path) == INFO.id
    with pytest.raises(ConfigError, match="holds an earlier run"):
        check_unused(tmp_path)


def test_damaged_best_is_an_error_and_no_other_takes_its_place(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, INFO, STATE)
    (tmp_path / "best.safetensors").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match=r"best\.safetensors is not a readable checkpoint"):
        load_best(tmp_path)


def test_link_leads_to_the_newest_and_what_it_leads_to_is_kept(tmp_path: Path) -> None:
    for step in (200, 400):
        link_current(save_checkpoint(tmp_path, replace(INFO, step=step), STATE))
    link = tmp_path / "current"
    assert load_checkpoint(link)[0].step == 400
    assert link.readlink() == Path("checkpoint-00000400.safetensors"), "it is good in a folder that was moved, too"
    for step in (600, 800, 1000):  # and the link could not be replaced
        save_checkpoint(tmp_path, replace(INFO, step=step), STATE)
    assert load_checkpoint(link)[0].step == 400
    assert len(checkpoints(tmp_path)) == KEEP + 1
    link_current(save_checkpoint(tmp_path, replace(INFO, step=1200), STATE))
    save_checkpoint(tmp_path, replace(INFO, step=1400), STATE)
    assert load_checkpoint(link)[0].step == 1200
    assert len(checkpoints(tmp_path)) == KEEP


def test_newest_is_that_of_the_largest_step_however_many_digits_it_has(tmp_path: Path) -> None:
    for step in (99_999_800, 100_000_000, 100_000_200):
        save_checkpoint(tmp_path, replace(INFO, step=step), STATE)
    (tmp_path / "checkpoint-of-mine.safetensors").write_bytes(b"")
    assert [path.name for path in checkpoints(tmp_path)] == [
        "checkpoint-100000200.safetensors",
        "checkpoint-100000000.safetensors",
    ]


def test_file_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-1.safetensors"
    path.write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match=r"checkpoint-1\.safetensors is not a readable checkpoint"):
        load_checkpoint(path)
    assert load_newest(tmp_path) is None


def test_folder_of_an_earlier_run_is_refused(tmp_path: Path) -> None:
    check_unused(tmp_path)
    save_checkpoint(tmp_path, INFO, STATE)
    with pytest.raises(ConfigError, match="holds an earlier run"):
        check_unused(tmp_path)


def test_resumed_metrics_drop_what_will_come_again(tmp_path: Path) -> None:
    losses = Losses(torch.tensor(1.5), None)
    first = Recorder(tmp_path)
    for step in range(1, 26):
        first.record({"step": step}, losses)
    first.flush()
    save_checkpoint(tmp_path, replace(INFO, step=20), STATE)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 26, "lab')  # cut short by a power cut
    again = Recorder(tmp_path)
    again.resume(20)
    again.begin()
    again.record({"step": 21}, losses)
    again.flush()
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(1, 22))
    assert records[-1] == {"step": 21, "labels": 1.5, "distil": None}


def test_folder_that_cannot_be_written_is_a_warning_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(tmp_path / "gone")
    recorder.save(INFO, STATE)
    recorder.summarise(PeerSummary(id=1, accuracy=None, own_accuracy=None, steps=1), 1.0)
    recorder.record({"step": 1}, Losses(torch.tensor(1.0), None))
    recorder.flush()
    assert caplog.text.count("training goes on") == 1


def test_what_a_full_disk_cut_short_does_not_spoil_what_is_written_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    resource = pytest.importorskip("resource", reason="limits the size of files, as a full disk would")
    recorder, losses = Recorder(tmp_path), Losses(torch.tensor(1.0), None)

    def record(step: int) -> None:
        recorder.record({"step": step}, losses)
        recorder.flush()

    record(1)
    size = (tmp_path / "metrics.jsonl").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
    try:
        record(2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert recorder.failing == {"metrics": "File too large"}
    assert recorder.unwritten == "", "what a run is for has been written"
    record(3)
    assert recorder.failing == {}
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 3]
    assert caplog.messages == [f"cannot write to {tmp_path}: File too large; training goes on"]


def test_checkpoint_of_an_earlier_version_is_read_and_its_accuracy_is_measured_anew(tmp_path: Path) -> None:
    """Nobody knows on how many images that accuracy was measured."""
    entry = dataclasses.asdict(INFO)
    del entry["made_with"], entry["accuracy"]["samples"], entry["accuracy"]["confusion"]
    entry["sha256"] = tensors_sha256(STATE, json.dumps(entry, sort_keys=True).encode())
    path = tmp_path / "checkpoint-00000120.safetensors"
    write_atomically(path, safetensors_pieces(STATE, {"edgekd": json.dumps(entry, sort_keys=True)}))
    assert load_checkpoint(path)[0] == dataclasses.replace(INFO, made_with={}, accuracy=None)


SETTINGS = Config(data=DataConfig(data="digits", limit=600), train=TrainConfig(seed=3))
IMAGES = torch.arange(4 * 3 * 8 * 8, dtype=torch.uint8).view(4, 3, 8, 8)


def made_with(images: torch.Tensor = IMAGES, config: Config = SETTINGS) -> dict[str, object]:
    return {**data_definition(config), "public": "ab" * 32, **evaluation_definition(config, images)}


def test_other_evaluation_images_are_named_whatever_their_order() -> None:
    check_same(made_with(), made_with(IMAGES.flip(0)))
    other = IMAGES.clone()
    other[3, 0, 0, 0] += 1
    for images in (other, IMAGES[:3]):
        with pytest.raises(ConfigError, match="the images to evaluate on are not those of the checkpoint"):
            check_same(made_with(), {**made_with(images), "public": "cd" * 32})


def test_other_settings_are_named_before_the_images_that_follow_from_them() -> None:
    more = replace(SETTINGS, data=replace(SETTINGS.data, limit=700))
    with pytest.raises(ConfigError, match="made with other settings: limit was 600, now 700"):
        check_same(made_with(), made_with(IMAGES[:3], more))


def test_a_boxs_own_evaluation_images_may_become_more() -> None:
    assert evaluation_definition(Config(data=DataConfig(private="folder:own", public="p")), IMAGES) == {}


def test_checkpoint_that_does_not_say_what_it_was_made_with_is_compared_with_the_settings_beside_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert definition_before({}, tmp_path) == {}
    write_config(tmp_path, SETTINGS)
    before = definition_before({}, tmp_path)
    check_same(before, made_with())
    assert caplog.text.count("was made before edgekd noted which images it is evaluated on") == 2
    caplog.clear()
    with pytest.raises(ConfigError, match="seed was 3, now 4"):
        check_same(before, made_with(config=replace(SETTINGS, train=TrainConfig(seed=4))))
    assert definition_before(made_with(), tmp_path) == made_with()
    assert definition_before({"private": True}, tmp_path) == {"private": True}
    assert not caplog.text


def test_folder_says_whose_checkpoints_it_holds(tmp_path: Path) -> None:
    assert peer_in(tmp_path) is None
    save_checkpoint(tmp_path, replace(INFO, id=7), STATE)
    (tmp_path / "checkpoint-00000999.safetensors").write_bytes(b"damaged")
    assert peer_in(tmp_path) == 7


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": {"lessons": "7"}},
        {"counts": [7]},
        {"classes": [1, 2]},
        {"classes": 3},
        {"step": "120"},
        {"id": -1},
        {"accuracy": [1]},
        {"accuracy": {"overall": 1}},
        {"size": None},
        {"colour": "red"},
        {"model": None},
        {"made_with": ["seed"]},
    ],
)
def test_metadata_that_is_not_what_it_should_be_is_an_error_that_names_the_file(tmp_path: Path, changes: dict) -> None:
    path = save_checkpoint(tmp_path, INFO, STATE)
    with safe_open(path, framework="pt") as file:
        entry = json.loads(file.metadata()["edgekd"])
    save_file(STATE, path, metadata={"edgekd": json.dumps({**entry, **changes})})
    with pytest.raises(ConfigError, match="is not a readable checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "3", "[]", "null", '{"sha256": 1}'])
def test_metadata_of_another_form_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    save_file(STATE, tmp_path / "c.safetensors", metadata={"edgekd": text})
    with pytest.raises(ConfigError, match=r"c\.safetensors is not a readable checkpoint") as error:
        load_checkpoint(tmp_path / "c.safetensors")
    assert len(str(error.value)) < 500
