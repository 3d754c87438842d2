"""Networks of the user's own: made, tried out, trained and found again; and never imported on a file's word."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import CLASSES, SIZE, images, write_checkpoint
from safetensors.torch import load_file, save_file
from torch import nn

import edgekd
from edgekd.config import Config, from_mapping, read_toml
from edgekd.data.augment import normalise
from edgekd.data.datasets import PeerData, load_peer_data
from edgekd.errors import ConfigError
from edgekd.extensions import load_function
from edgekd.files.runs import write_config
from edgekd.files.tensors import safetensors_pieces
from edgekd.learning.learner import Learner
from edgekd.learning.models import Classifier, make_model, model_from_config
from edgekd.protocol.messages import Lesson
from edgekd.simulation.groups import simulate
from edgekd.use.trained import load_trained

torch.set_num_threads(1)

NETWORKS = """
import functools
import torch
from torch import nn


class Small(nn.Module):
    def __init__(self, classes, width=6):
        super().__init__()
        self.fc = nn.Linear(width * 9, classes)  # registered first, used last
        self.conv = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, images):
        return self.fc(nn.functional.adaptive_avg_pool2d(self.norm(self.conv(images)).relu(), 3).flatten(1))


class Viewing(Small):
    def forward(self, images):
        pooled = nn.functional.adaptive_avg_pool2d(self.norm(self.conv(images)).relu(), 3)
        return self.fc(pooled.view(pooled.size(0), -1))


def convolutional(classes):
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.2), nn.Conv2d(6, classes, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )


def lazy(classes):
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LazyLinear(classes))


def without_bias(classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(27, classes, bias=False))


class Scaled(Small):
    def forward(self, images):
        return super().forward(images) / 2


class Twice(Small):
    def forward(self, images):
        return super().forward(images.flip(-1)) + super().forward(images)


class Cosine(nn.Linear):
    def forward(self, features):
        return 8 * nn.functional.linear(*(nn.functional.normalize(each, dim=1) for each in (features, self.weight)))


def cosine(classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten(), Cosine(27, classes))


@functools.cache
def always_the_same(classes):
    return Small(classes)


number = 3


def raises(classes):
    raise ValueError("no weights here\\nand a second line")


def no_network(classes):
    return [classes]


def nothing_to_learn(classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LogSoftmax(dim=1))


def frozen(classes):
    return Small(classes).requires_grad_(False)


def a_thousand(classes):
    return Small(1000)


class Two(Small):
    def forward(self, images):
        return super().forward(images), None


class NormOfOnePixel(Small):
    def forward(self, images):
        pooled = nn.functional.adaptive_avg_pool2d(self.conv(images), 1)
        return self.fc(torch.cat([self.norm(each[None]) for each in pooled]).flatten(1).repeat(1, 9))


class NotFinite(Small):
    def forward(self, images):
        return super().forward(images) + (0 if not self.training else torch.log(images.mean() - 1e6))


def scripted(classes):
    return torch.jit.script(nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(27, classes)))


class NoGradient(Small):
    def forward(self, images):
        return super().forward(images).detach()


def too_deep(classes):
    return nn.Sequential(nn.Conv2d(3, 4, 64), nn.Flatten(), nn.LazyLinear(classes))


class Buffered(Small):
    def __init__(self, classes, buffer):
        super().__init__(classes)
        self.register_buffer("kept", buffer)


def complex_numbers(classes):
    return Buffered(classes, torch.ones(3, dtype=torch.complex64))


def eight_bits(classes):
    return Buffered(classes, torch.ones(3).to(torch.float8_e4m3fn))


def sparse(classes):
    return Buffered(classes, torch.eye(3).to_sparse())


def small_integers(classes):
    return Buffered(classes, torch.tensor([-1, 1], dtype=torch.int8))


class Told(Small):
    def get_extra_state(self):
        return {"epochs": 3}

    def set_extra_state(self, state):
        pass


class Growing(Small):
    def __init__(self, classes):
        super().__init__(classes)
        self.register_buffer("seen", torch.zeros(0))

    def forward(self, images):
        if self.training:
            self.seen = torch.cat([self.seen, images.detach().mean(dim=(1, 2, 3))])
        return super().forward(images)


def leaves(classes):
    raise SystemExit("no licence")


class Leaving(Small):
    def forward(self, images):
        raise SystemExit


class OneImage(Small):
    def forward(self, images):
        return super().forward(images).reshape(1, -1)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The name of a function of NETWORKS."""
    file = tmp_path_factory.mktemp("own") / "networks_of_my_own.py"
    file.write_text(NETWORKS)
    return lambda function: f"{file}:{function}"


@pytest.fixture(scope="module")
def data() -> PeerData:
    return load_peer_data(config("resnet18").data, 0, seed=0)


def config(model: str, /, **sections: dict[str, object]) -> Config:
    tables: dict[str, dict[str, object]] = {
        "data": {"data": "digits", "limit": 300},
        "model": {"model": model},
        "train": {"steps": 6, "batch": 8, "public_batch": 8, "eval_every": 0},
    }
    return from_mapping({name: {**tables.get(name, {}), **sections.get(name, {})} for name in {*tables, *sections}})


def lesson(round: int, heads: int = 1) -> Lesson:
    generator = torch.Generator().manual_seed(round)
    return Lesson(round, {1: torch.randn(heads, 8, 10, generator=generator).softmax(-1)})


def train(learner: Learner, count: int, heads: int = 1) -> Learner:
    for _ in range(count):
        learner.teach(learner.step, keep=True)
        learner.study()
        learner.learn(lesson(learner.step, heads))
    return learner


# -- what is made ------------------------------------------------------------------------------------------------------


def test_network_goes_on_from_the_weights_that_the_function_gave_its_last_layer_too(own: Any) -> None:
    torch.manual_seed(3)
    expected = load_function(own("Small"))(len(CLASSES)).eval()
    torch.manual_seed(3)
    made = make_model(own("Small"), "none", len(CLASSES), SIZE).eval()
    pixels = normalise(images(3))
    assert torch.equal(made(pixels)[0], expected(pixels))
    assert torch.equal(made.heads[0].weight, expected.fc.weight)
    assert made.with_one_head(0).state_dict().keys() == expected.state_dict().keys()


@pytest.mark.parametrize(
    ("function", "linear"),
    [
        ("Small", True),
        ("Viewing", True),
        ("lazy", True),
        ("without_bias", True),
        ("convolutional", False),
        ("Scaled", False),
        ("cosine", False),
        ("Twice", False),
    ],
)
def test_more_heads_are_given_to_a_network_whose_linear_layer_has_the_last_word(
    own: Any, function: str, linear: bool
) -> None:
    assert isinstance(make_model(own(function), "none", 4, SIZE).heads[0], nn.Linear) == linear
    if linear:
        made = make_model(own(function), "none", 4, SIZE, heads=3, hidden=(5,))
        assert made(normalise(images(2))).shape == (3, 2, 4)
    else:
        with pytest.raises(ConfigError, match=rf"--heads 3 need .* a last layer that is linear, and .*:{function} has"):
            make_model(own(function), "none", 4, SIZE, heads=3)


_chosen: tuple[list[str], str] = [], ""  # what `_put_together` makes: its function is found once


def _put_together(classes: int) -> nn.Module:
    kinds: dict[str, Callable[[], nn.Module]] = {
        "linear": lambda: nn.Linear(12, 12),
        "norm": lambda: nn.LayerNorm(12),
        "relu": nn.ReLU,
        "flat": nn.Flatten,
    }
    ends: dict[str, list[nn.Module]] = {"": [], "curve": [nn.Softplus()], "view": [nn.Unflatten(1, (-1,))]}
    layers, end = _chosen
    body = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), *(kinds[each]() for each in layers)]
    return nn.Sequential(*body, nn.Linear(12, classes), *ends[end])


@given(
    st.lists(st.sampled_from(["linear", "norm", "relu", "flat"]), max_size=4), st.sampled_from(["", "curve", "view"])
)
@settings(deadline=None, max_examples=60)
def test_cutting_off_the_last_layer_and_putting_a_head_back_changes_no_answer(layers: list[str], end: str) -> None:
    global _chosen
    _chosen = layers, end
    torch.manual_seed(1)
    expected = _put_together(4).eval()
    torch.manual_seed(1)
    made = make_model(f"{__name__}:_put_together", "none", 4, SIZE).eval()
    pixels = normalise(images(2))
    assert torch.equal(made(pixels)[0], expected(pixels))
    assert torch.equal(made.with_one_head(0)(pixels), expected(pixels))
    assert isinstance(made.heads[0], nn.Linear) == (end == "")


def test_two_learners_do_not_share_a_network_that_the_function_always_returns(own: Any) -> None:
    first, second = (make_model(own("always_the_same"), "none", 4, SIZE) for _ in range(2))
    assert torch.equal(first.heads[0].weight, second.heads[0].weight)
    with torch.no_grad():
        first.heads[0].weight.zero_()
    assert second.heads[0].weight.count_nonzero() > 0


def test_network_that_views_what_a_convolution_returns_is_given_contiguous_images(own: Any, data: PeerData) -> None:
    assert make_model(own("Small"), "none", 4, SIZE).memory_format is torch.channels_last
    assert make_model(own("Viewing"), "none", 4, SIZE).memory_format is torch.contiguous_format
    learner = train(Learner(data, config(own("Viewing")), 0), 2)
    assert learner.evaluate(data.evaluation) is not None
    torch.manual_seed(3)
    viewing = make_model(own("Viewing"), "none", 4, SIZE).eval()
    torch.manual_seed(3)
    flattening = make_model(own("Small"), "none", 4, SIZE).eval()
    torch.testing.assert_close(viewing(normalise(images(2))), flattening(normalise(images(2))))


def test_weights_of_a_file_are_those_of_the_network_but_for_its_last_layer(own: Any, tmp_path: Path) -> None:
    kept = load_function(own("Small"))(1000)
    names = {"plain": "", "wrapped": "module.", "compiled": "_orig_mod."}
    for name, prefix in names.items():
        save_file({f"{prefix}{key}": t for key, t in kept.state_dict().items()}, tmp_path / f"{name}.safetensors")
        made = make_model(own("Small"), str(tmp_path / f"{name}.safetensors"), 4, SIZE)
        assert torch.equal(made.backbone.conv.weight, kept.conv.weight)
        assert made.heads[0].out_features == 4
    with pytest.raises(ConfigError, match=r"holds no weights of .*:lazy: '0\.weight' is missing"):
        make_model(own("lazy"), str(tmp_path / "plain.safetensors"), 4, SIZE)


def test_names_in_a_file_that_begin_as_wrapped_ones_do_are_left_as_they_are(tmp_path: Path) -> None:
    kept = _Wrapping(4)
    save_file(kept.state_dict(), tmp_path / "w.safetensors")
    assert all(key.startswith("net.") for key in kept.state_dict())
    made = make_model(f"{__name__}:_Wrapping", str(tmp_path / "w.safetensors"), 4, SIZE)
    assert torch.equal(made.backbone.net[0].weight, kept.net[0].weight)


class _Wrapping(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, classes))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.net(pixels)
        return found


def test_example_in_the_docs_is_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: PeerData) -> None:
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    code = text.partition("<!-- own-network:begin -->\n```python\n")[2].partition("```\n<!-- own-network:end -->")[0]
    (tmp_path / "mynet.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    learner = Learner(data, config("mynet:make", model={"heads": 2, "head_start": "discriminant"}), 0)
    train(learner, 1, heads=2)
    make_model("mynet:make", "none", 4, 16)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("missing", "cannot load .*:missing: AttributeError"),
        ("number", "number must be a function, got 3"),
        ("raises", r"raises ValueError: no weights here; it is called with the number of classes, 10"),
        ("no_network", r"must return a torch\.nn\.Module, got list"),
        ("nothing_to_learn", "without a trainable parameter"),
        ("frozen", "without a trainable parameter"),
        ("a_thousand", r"must return logits, floats \[1, 10\] for images \[1, 3, 32, 32\], got float32 \[1, 1000\]"),
        ("Two", r"must return logits, floats \[1, 10\] .*, got tuple"),
        ("NormOfOnePixel", "cannot be trained with images of 32 pixels: ValueError: Expected more than 1 value per"),
        ("NotFinite", "cannot be trained with images of 32 pixels: on noise its loss is nan"),
        ("complex_numbers", "no checkpoint can hold the state_dict of .*: 'kept' is a tensor of complex64, and a file"),
        ("eight_bits", "no checkpoint can hold .*: 'kept' is a tensor of float8_e4m3fn, and a file"),
        ("sparse", "no checkpoint can hold .*: 'kept' is a tensor of layout sparse_coo, and a file holds only dense"),
        ("Told", "no checkpoint can hold .*: '_extra_state' is no tensor but of type dict"),
        ("Growing", "no checkpoint can hold .*: RuntimeError: Error.* in loading state_dict"),
        ("leaves", r"leaves raises RuntimeError: it calls sys\.exit\('no licence'\)"),
        ("Leaving", r"cannot take images of 32 pixels: RuntimeError: it calls sys\.exit\(\)"),
        ("NoGradient", "cannot be trained with images of 32 pixels: RuntimeError: element 0 of tensors does not requi"),
        pytest.param(
            "scripted",
            "cannot be trained with images of 32 pixels: ValueError: can't optimize a non-leaf Tensor",
            marks=pytest.mark.filterwarnings("ignore"),  # TorchScript is deprecated,
        ),
        (
            "too_deep",
            r"cannot take images of 32 pixels: RuntimeError: .*size, choose another --size or --model, else",
        ),
        ("OneImage", r"must return logits, floats \[2, 10\] for images \[2, 3, 32, 32\], got float32 \[1, 20\]"),
    ],
)
def test_network_that_breaks_a_rule_is_refused_in_one_line(own: Any, data: PeerData, function: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        Learner(data, config(own(function)), 0)
    assert "\n" not in str(error.value)


def test_network_with_integers_of_eight_bits_is_kept(own: Any, data: PeerData, tmp_path: Path) -> None:
    learner = train(Learner(data, config(own("small_integers")), 0), 1)
    file = tmp_path / "state.safetensors"
    file.write_bytes(b"".join(safetensors_pieces(learner.state(), {})))
    kept = load_file(file)["model.backbone.kept"]
    assert (kept.dtype, kept.tolist()) == (torch.int8, [-1, 1])


def test_name_of_nothing_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match="cannot load nowhere_at_all:make: ModuleNotFoundError"):
        make_model("nowhere_at_all:make", "none", 4, SIZE)
    with pytest.raises(ConfigError, match=r"unknown model 'my-net:make'.*timm:NAME, and a function of your own"):
        make_model("my-net:make", "none", 4, SIZE)
    with pytest.raises(ConfigError, match=r"^unknown model 'mynet\.py'; a file is named with .*: mynet\.py:FUNCTION$"):
        make_model("mynet.py", "none", 10, 32)


@pytest.mark.parametrize("at", ["start", "end"])
@pytest.mark.parametrize("function", ["convolutional", "without_bias"])
def test_network_without_a_linear_last_layer_and_bias_does_without_a_discriminant_and_a_line_says_so(
    own: Any, data: PeerData, function: str, at: str, caplog: pytest.LogCaptureFixture
) -> None:
    network = own(function)
    without = {"head_start": "random", "head_end": "trained"}
    with caplog.at_level(logging.INFO, "edgekd"):
        found = [
            train(Learner(data, config(network, model=model, train={"steps": 2}), 0), 2).weights_sha256()
            for model in (without, {**without, f"head_{at}": "discriminant"})
        ]
    assert found[0] == found[1]
    assert [f"{network} has no last layer that is linear" in line for line in caplog.messages] == [True]


def test_imagenet_weights_of_a_network_of_ones_own_are_refused_and_by_default_the_function_decides(own: Any) -> None:
    with pytest.raises(ConfigError, match=r"there are no ImageNet weights of .*:Small"):
        config(own("Small"), model={"weights": "imagenet"})
    pictures = {"data": "folder:somewhere"}
    assert config(own("Small"), data=pictures).weights == "none"
    mixed = config(f"resnet18,{own('Small')},resnet18", data=pictures, model={"weights": "imagenet"})
    made = model_from_config(mixed.model, 1, weights=mixed.weights, classes=4, size=SIZE)
    assert isinstance(made.heads[0], nn.Linear), "imagenet is for the others of the group"
    config(own("Small"), data=pictures, train={"norm_from": "frozen"})  # the function may have loaded statistics


# -- trained with everything that there is -----------------------------------------------------------------------------


@pytest.mark.parametrize("norm_from", ["private", "public", "both", "frozen"])
@pytest.mark.parametrize("function", ["Small", "convolutional"])
def test_training_is_the_same_again_and_goes_on_from_a_checkpoint(
    own: Any, data: PeerData, norm_from: str, function: str
) -> None:
    chosen = config(own(function), train={"norm_from": norm_from})
    whole = train(Learner(data, chosen, 0), 4)
    half, rest = train(Learner(data, chosen, 0), 2), Learner(data, chosen, 0)
    rest.restore({name: tensor.clone() for name, tensor in half.state().items()}, 2)
    assert train(rest, 2).weights_sha256() == whole.weights_sha256()
    other = Learner(data, config("shufflenet_v2_x0_5", model={"weights": "none"}), 0)
    with pytest.raises(ConfigError, match="the checkpoint is of another network: ") as error:
        other.restore(half.state(), 2)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("function", ["Small", "Viewing"])
def test_two_heads_two_phases_and_a_discriminant_go_with_a_linear_last_layer(
    own: Any, data: PeerData, function: str
) -> None:
    two = {"heads": 2, "head_layers": "7", "head_start": "discriminant"}
    learner = Learner(data, config(own(function), model=two, distill={"alpha": 0.0, "two_phase": True}), 0)
    begun = learner.evaluate(data.evaluation)
    assert begun is not None
    assert begun.heads[0] > 0.3, "the discriminant knows some digits before a step"
    train(learner, 6, heads=2)
    assert learner.state()["model.heads.1.0.weight"].shape[0] == 7
    assert any(name.startswith("frozen.backbone.conv") for name in learner.state())


@pytest.mark.parametrize("norm_from", ["private", "both"])
def test_head_may_end_as_a_discriminant(own: Any, data: PeerData, norm_from: str) -> None:
    ended = config(own("Viewing"), model={"head_end": "discriminant"}, train={"norm_from": norm_from})
    trained, moved = (train(Learner(data, each, 0), 6) for each in (config(own("Viewing")), ended))
    assert not torch.equal(trained.model.heads[0].weight, moved.model.heads[0].weight)
    assert moved.evaluate(data.evaluation) is not None


def test_simulated_group_may_be_mixed_and_hears_all_its_networks(own: Any) -> None:
    chosen = config(f"{own('Small')},{own('convolutional')},mobilenet_v3_small", train={"steps": 2})
    summary = simulate(chosen)
    assert len({peer.weights_sha256 for peer in summary.peers}) == 3
    assert simulate(chosen).peers == summary.peers, "of one seed"
    assert all(peer.lessons == 2 for peer in summary.peers)


# -- found again -------------------------------------------------------------------------------------------------------


@pytest.fixture
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """The name of a network in the working folder, and the file that its import makes."""
    name, mark = f"marked_{tmp_path.name.replace('-', '_')}", tmp_path / "imported"
    (tmp_path / f"{name}.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n{NETWORKS}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"{name}:Small", mark


def checkpoint_of(own: Any, folder: Path, model: str, **changes: Any) -> Classifier:
    """A checkpoint in `folder` that says that its network is `model`."""
    network = make_model(own("Small"), "none", len(CLASSES), SIZE).eval()
    write_checkpoint(folder, network, model=model, **changes)
    return network


def test_network_that_a_checkpoint_names_is_not_imported_until_the_user_names_it(
    own: Any, tmp_path: Path, marked: tuple[str, Path]
) -> None:
    name, mark = marked
    network = checkpoint_of(own, tmp_path / "peer", name)
    for load in (load_trained, edgekd.load):
        with pytest.raises(ConfigError, match=f"is of {name}, a network of one's own, .* --model {name}"):
            load(tmp_path / "peer")
    assert not mark.exists()
    found = edgekd.load(tmp_path / "peer", model=name, device="cpu")
    assert mark.exists(), "else this test could not fail"
    pixels = images(4)
    assert torch.equal(found.logits(pixels), network(normalise(pixels))[0])


@pytest.mark.parametrize("kind", ["{0}", " {0}", "resnet18,{0}", "{0},resnet18", "./{1}.py:Small", "a,./{1}.py:Small"])
def test_no_way_of_writing_a_name_into_a_checkpoint_has_it_imported(
    own: Any, tmp_path: Path, marked: tuple[str, Path], kind: str
) -> None:
    name, mark = marked
    checkpoint_of(own, tmp_path / "peer", kind.format(name, name.partition(":")[0]), id=1)
    with pytest.raises(ConfigError):
        load_trained(tmp_path / "peer")
    assert not mark.exists()


def test_name_in_a_checkpoint_is_text_on_one_line(own: Any, tmp_path: Path) -> None:
    checkpoint_of(own, tmp_path / "peer", "\x1b[2J\x85rm.py:f")
    with pytest.raises(ConfigError, match="a network of one's own") as error:
        load_trained(tmp_path / "peer")
    assert str(error.value).isprintable()


def test_network_that_does_not_fit_the_weights_is_one_line(own: Any, tmp_path: Path) -> None:
    checkpoint_of(own, tmp_path / "peer", "somewhere:else")
    for other in (own("lazy"), own("convolutional"), "resnet18"):
        with pytest.raises(ConfigError, match=f"does not fit {other} as it is") as error:
            load_trained(tmp_path / "peer", model=other)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 500
    assert load_trained(tmp_path / "peer", model=own("Small")), "a module may have moved"


def test_list_of_a_mixed_group_gives_each_peer_its_network(own: Any, tmp_path: Path) -> None:
    checkpoint_of(own, tmp_path / "peer-1", own("Small"), id=1)
    names = f"resnet18,{own('Small')},{own('lazy')}"
    assert load_trained(tmp_path, model=names).info.id == 1


def test_settings_keep_the_file_of_a_network_with_its_whole_path(own: Any, tmp_path: Path) -> None:
    chosen = config("./mine.py:make,resnet18,timm:resnet18")
    write_config(tmp_path, chosen)
    assert read_toml(tmp_path / "config.toml")["model"]["model"] == f"{Path.cwd()}/mine.py:make,resnet18,timm:resnet18"
