"""Which layers stay as they are pretrained, and that they do."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from edgekd.config import Config, from_mapping, overlay, read_run
from edgekd.config.presets import find_preset
from edgekd.contract import make_contract
from edgekd.data.augment import normalise
from edgekd.data.datasets import PeerData, load_peer_data
from edgekd.data.public import make_public
from edgekd.errors import ConfigError
from edgekd.learning.freezing import freeze
from edgekd.learning.learner import Learner
from edgekd.learning.models import make_model
from edgekd.protocol.messages import Lesson

torch.set_num_threads(1)
DIGITS = {"data": {"data": "digits", "limit": 300}}


def frozen_names(network: nn.Module, fraction: float) -> set[str]:
    freeze(network, fraction)
    return {name for name, parameter in network.named_parameters() if not parameter.requires_grad}


@pytest.mark.parametrize(
    ("fraction", "first"),
    [(0.0, ()), (0.25, ("conv1.", "bn1.", "layer1.")), (0.5, ("conv1.", "bn1.", "layer1.", "layer2."))],
)
def test_quarter_of_a_resnet18_is_its_stem_and_its_first_stage(fraction: float, first: tuple[str, ...]) -> None:
    network = make_model("resnet18", "none", 10, 32).backbone
    expected = {name for name, _ in network.named_parameters() if first and name.startswith(first)}
    assert frozen_names(network, fraction) == expected


@given(st.integers(1, 12), st.floats(0, 1))
def test_layers_are_frozen_from_the_first_on_in_whole(count: int, fraction: float) -> None:
    layers = [nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.ReLU()) for _ in range(count)]
    network = nn.Sequential(*layers)
    still = freeze(network, fraction)
    frozen = [{parameter.requires_grad for parameter in layer.parameters()} for layer in layers]
    most = sum(flags == {False} for flags in frozen)
    assert frozen == [{False}] * most + [{True}] * (count - most)
    assert most <= fraction * count + 1e-6 < most + 1 + 1e-5
    modules = {module for layer in layers[:most] for module in layer.modules()}
    assert modules <= set(still) <= modules | ({network} if most == count else set())


def test_what_lies_before_the_last_frozen_layer_is_frozen_too() -> None:
    network = make_model("vit_b_16", "none", 10, 224).backbone
    still = freeze(network, 0.5)
    names = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert {"class_token", "conv_proj.weight", "encoder.pos_embedding"} <= names
    assert not any(name.startswith("encoder.layers.encoder_layer_11") for name in names)
    first = network.get_submodule("encoder.layers.encoder_layer_0")
    assert set(first.modules()) <= set(still), "its attention has weights and a layer in it"


def test_scales_of_channels_are_no_layers() -> None:
    network = make_model("convnext_tiny", "none", 10, 32).backbone
    convolutions = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    frozen = frozen_names(network, 0.5)
    assert sum(f"{name}.weight" in frozen for name in convolutions) == len(convolutions) // 2


def test_misspelt_fraction_is_refused() -> None:
    for wrong in (-0.1, 1.5):
        with pytest.raises(ConfigError, match=r"freeze must be in \[0, 1\]"):
            from_mapping({"train": {"freeze": wrong}})


def test_layers_with_random_weights_are_not_frozen() -> None:
    with pytest.raises(ConfigError, match=r"freeze 0.25 needs pretrained weights.*--weights or --freeze 0"):
        from_mapping({"data": {"data": "folder:x"}, "model": {"weights": "none"}, "train": {"freeze": 0.25}})


@pytest.mark.parametrize("freeze", [1.0, 0.5])
def test_network_of_which_nothing_is_left_to_train_is_refused(
    data: PeerData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, freeze: float
) -> None:
    (tmp_path / "conv.py").write_text(
        "from torch import nn\n\ndef make(classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    monkeypatch.chdir(tmp_path)
    own = from_mapping({**DIGITS, "model": {"model": "./conv.py:make"}, "train": {"freeze": freeze}})
    if freeze < 1:
        Learner(data, own, 0)
        return
    with pytest.raises(ConfigError, match=r"freeze 1 leaves nothing of ./conv.py:make to be trained"):
        Learner(data, own, 0)


def test_light_preset_is_nobody_elses_business_and_needs_pretrained_weights() -> None:
    plain = {"data": {"data": "folder:x"}}
    light = overlay(find_preset("light"), plain)
    assert from_mapping(light).freeze == 0.5
    public = make_public(torch.zeros(100, 3, 32, 32, dtype=torch.uint8), ("cat", "dog"), "crop+flip-each")
    contracts = [make_contract(public, from_mapping(tables)) for tables in (light, plain)]
    assert contracts[0] == contracts[1]
    with pytest.raises(ConfigError, match="needs pretrained weights"):
        from_mapping(overlay(light, {"model": {"weights": "none"}}))


@pytest.fixture(scope="module")
def data() -> PeerData:
    return load_peer_data(from_mapping(DIGITS).data, 0, seed=0)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(make_model("resnet18", "none", 10, 32).backbone.state_dict(), path)
    return str(path)


def config(weights: str, **train: object) -> Config:
    small = {"steps": 2, "batch": 8, "public_batch": 8, "eval_every": 0, "freeze": 0.25}
    model = {"weights": weights, "head_start": "discriminant", "head_end": "discriminant"}
    return from_mapping({**DIGITS, "model": model, "train": {**small, **train}})


def finished(data: PeerData, settings: Config) -> Learner:
    learner = Learner(data, settings, 0)
    for round in range(2):
        learner.teach(round, keep=True)
        learner.study()
        probs = torch.randn(1, 8, 10, generator=torch.Generator().manual_seed(round)).softmax(-1)
        learner.learn(Lesson(round, {1: probs}))
    return learner


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("norm_from", ["private", "public", "both"])
def test_frozen_layers_keep_weights_and_statistics_to_the_end_and_the_others_move(
    data: PeerData, pretrained: str, norm_from: str, optimiser: str
) -> None:
    settings = config(pretrained, norm_from=norm_from, optimiser=optimiser)
    before, learner = Learner(data, settings, 0).model.state_dict(), finished(data, settings)
    frozen = ("backbone.conv1.", "backbone.bn1.", "backbone.layer1.")
    for name, tensor in learner.model.state_dict().items():
        if name.startswith(frozen):
            assert torch.equal(tensor, before[name]), name
        elif not name.endswith("num_batches_tracked"):
            assert not torch.equal(tensor, before[name]), name
    assert not any(name.split(".", 1)[1].startswith(frozen) for name in learner.state() if "moment" in name)


def test_what_a_frozen_layer_answers_does_not_depend_on_the_rest_of_the_batch(data: PeerData, pretrained: str) -> None:
    learner = Learner(data, config(pretrained), 0)
    stem = nn.Sequential(learner.model.backbone.conv1, learner.model.backbone.bn1)
    images = normalise(data.private.images[:8])
    torch.testing.assert_close(stem(images)[:3], stem(images[:3]), rtol=1e-5, atol=1e-5)


def test_learner_with_frozen_layers_goes_on_from_its_state(data: PeerData, pretrained: str) -> None:
    whole, first, second = (Learner(data, config(pretrained), 0) for _ in range(3))
    probs = torch.full((1, 8, 10), 0.1)
    for learner, rounds in ((whole, (0, 1)), (first, (0,)), (second, (1,))):
        if learner is second:
            second.restore({name: tensor.clone() for name, tensor in first.state().items()}, 1)
        for round in rounds:
            learner.study()
            learner.learn(Lesson(round, {1: probs}))
    assert second.weights_sha256() == whole.weights_sha256()


def test_files_of_before_froze_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[data]\ndata = "folder:x"\n', encoding="utf-8")
    assert from_mapping(read_run(path)).freeze == 0
    assert from_mapping({"data": {"data": "folder:x"}}).freeze == 0.25
