"""Networks of timm: found by their names, begun from files, and restored by what a checkpoint says."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import CLASSES, SIZE, images, write_checkpoint
from safetensors.torch import save_file
from torch import nn

from edgekd.config import from_mapping
from edgekd.data.augment import normalise
from edgekd.data.datasets import PeerData, load_peer_data
from edgekd.errors import ConfigError
from edgekd.learning import networks
from edgekd.learning.learner import Learner
from edgekd.learning.models import make_model
from edgekd.protocol.messages import Lesson
from edgekd.use.trained import load_trained

timm = pytest.importorskip("timm", reason="needs edgekd[timm]")

torch.set_num_threads(1)
NAME = "mobilenetv4_conv_small_035"  # the smallest of its kind


def settings(**model: object) -> dict[str, Any]:
    return {
        "data": {"data": "digits", "limit": 300},
        "model": {"model": f"timm:{NAME}", **model},
        "train": {"steps": 6, "batch": 8, "public_batch": 8, "eval_every": 0},
    }


@pytest.fixture(scope="module")
def data() -> PeerData:
    return load_peer_data(from_mapping(settings()).data, 0, seed=0)


def test_network_is_that_of_timm_with_its_own_last_layer_as_the_first_head() -> None:
    torch.manual_seed(3)
    theirs = timm.create_model(NAME, num_classes=4).eval()
    torch.manual_seed(3)
    ours = make_model(f"timm:{NAME}", "none", 4, SIZE, heads=2).eval()
    pixels = normalise(images(2))
    assert torch.equal(ours(pixels)[0], theirs(pixels))
    assert torch.equal(ours.heads[0].weight, theirs.classifier.weight)
    assert ours.with_one_head(0).state_dict().keys() == theirs.state_dict().keys()


@pytest.mark.parametrize("model", [{}, {"heads": 2, "head_layers": "7", "head_start": "discriminant"}])
def test_network_of_timm_is_trained_and_goes_on_from_a_checkpoint(data: PeerData, model: dict[str, object]) -> None:
    chosen, heads = from_mapping(settings(**model)), int(str(model.get("heads", 1)))

    def train(learner: Learner, count: int) -> Learner:
        for _ in range(count):
            learner.teach(learner.step, keep=True)
            learner.study()
            learner.learn(Lesson(learner.step, {1: torch.full((heads, 8, 10), 0.1)}))
        return learner

    whole = train(Learner(data, chosen, 0), 3)
    half, rest = train(Learner(data, chosen, 0), 1), Learner(data, chosen, 0)
    rest.restore({name: tensor.clone() for name, tensor in half.state().items()}, 1)
    assert train(rest, 2).weights_sha256() == whole.weights_sha256()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "mobilenetv4_conv_smal",
            "timm has no network 'mobilenetv4_conv_smal'; close matches: mobilenetv4_conv_small,",
        ),
        ("qqqqqqqq", r"timm has no network 'qqqqqqqq'; timm\.list_models\(\) lists them all"),
        (f"{NAME}.no_such_weights", f"timm cannot make '{NAME}.no_such_weights': Invalid pretrained tag"),
        ("vit_tiny_patch16_224", "cannot take images of 32 pixels: AssertionError.*choose another --size or --model"),
    ],
)
def test_name_that_will_not_do_is_answered_in_one_line(name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        make_model(f"timm:{name}", "none", 4, SIZE)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", ["hf-hub:someone/something", "local-dir:{folder}", "someone/resnet18", "../resnet18"])
def test_name_leads_to_no_repository_and_no_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text('{"architecture": "resnet18"}')
    with pytest.raises(ConfigError, match="timm has no network"):
        make_model(f"timm:{name.format(folder=tmp_path)}", "none", 4, SIZE)


def test_checkpoint_restores_its_network_by_name(tmp_path: Path) -> None:
    network = make_model(f"timm:{NAME}", "none", len(CLASSES), SIZE).eval()
    write_checkpoint(tmp_path, network, model=f"timm:{NAME}")
    pixels = normalise(images(3))
    assert torch.equal(load_trained(tmp_path).network()(pixels), network(pixels)[0])


def test_weights_come_from_a_file_that_timm_has_published(tmp_path: Path) -> None:
    published = timm.create_model(NAME)  # of 1,000 classes, as published ones are
    save_file(published.state_dict(), tmp_path / "model.safetensors")
    made = make_model(f"timm:{NAME}", str(tmp_path / "model.safetensors"), 4, SIZE)
    assert torch.equal(made.backbone.conv_stem.weight, published.conv_stem.weight)
    with pytest.raises(ConfigError, match="holds no weights of timm:resnet18"):
        make_model("timm:resnet18", str(tmp_path / "model.safetensors"), 4, SIZE)


def test_weights_that_were_downloaded_before_are_used_without_asking_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="needs edgekd[timm]")
    named = "mobilenetv4_conv_small"  # its weights are published
    kept = timm.create_model(named)
    folder = tmp_path / "models--timm--mobilenetv4_conv_small.e2400_r224_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("a" * 40)
    (folder / "snapshots" / ("a" * 40)).mkdir(parents=True)
    save_file(kept.state_dict(), folder / "snapshots" / ("a" * 40) / networks.WEIGHTS)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)  # else a mistake here would be a download
    made = make_model(f"timm:{named}", "imagenet", 4, SIZE)
    assert torch.equal(made.backbone.conv_stem.weight, kept.conv_stem.weight)
    assert isinstance(made.heads[0], nn.Linear)
    with pytest.raises(ConfigError, match=r"cannot get timm's weights of resnet18 \(.*use --weights FILE"):
        make_model("timm:resnet18", "imagenet", 4, SIZE)
    with pytest.raises(ConfigError, match=rf"cannot get timm's weights of {NAME} \(none are published for it\)"):
        make_model(f"timm:{NAME}", "imagenet", 4, SIZE)


def test_without_timm_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"--model timm:resnet18 needs timm: pip install timm"):
        make_model("timm:resnet18", "none", 4, SIZE)
