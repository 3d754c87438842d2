"""Files of weights: what is in them is read, and never run."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.torch_version import TorchVersion
from torchvision.models import ResNet18_Weights, resnet18

from edgekd.errors import ConfigError
from edgekd.learning.models import make_model
from edgekd.learning.weights import PTH_SINCE, read_weights

WEIGHTS = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}
reads_pth = pytest.mark.skipif(torch.__version__ < PTH_SINCE, reason="this PyTorch is too old for .pth files")


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> object:
        return Path.touch, (self.made,)


@pytest.mark.parametrize("name", [pytest.param("w.pth", marks=reads_pth), "w.safetensors"])
def test_weights_come_back(tmp_path: Path, name: str) -> None:
    (torch.save if name.endswith(".pth") else save_file)(WEIGHTS, tmp_path / name)
    read = read_weights(tmp_path / name)
    assert read.keys() == WEIGHTS.keys()
    for key, tensor in WEIGHTS.items():
        torch.testing.assert_close(read[key], tensor, rtol=0, atol=0)


@reads_pth
def test_code_in_a_pth_file_is_refused_and_does_not_run(tmp_path: Path) -> None:
    path, made = tmp_path / "w.pth", tmp_path / "made"
    torch.save({"layer.weight": Hostile(made)}, path)
    with pytest.raises(ConfigError, match="is not a readable weights file"):
        read_weights(path)
    assert not made.exists()
    torch.load(path, weights_only=False)
    assert made.exists(), "else this test could not fail"


@pytest.mark.parametrize("content", [b"", b"no weights", pickle.dumps(["a list"])])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_what_holds_no_weights_is_an_error_that_names_the_file(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=name):
        read_weights(tmp_path / name)


@reads_pth
def test_tensors_without_numbers_are_an_error_that_names_them(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.empty(2, device="meta")}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"layer\.weight is no plain tensor"):
        read_weights(tmp_path / "w.pth")


def test_code_in_torchvision_s_cache_of_downloads_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached, made = tmp_path / "hub/checkpoints" / Path(ResNet18_Weights.DEFAULT.url).name, tmp_path / "made"
    cached.parent.mkdir(parents=True)
    torch.save({"layer.weight": Hostile(made)}, cached)
    with pytest.raises(ConfigError, match="cannot get torchvision's ImageNet weights of resnet18"):
        make_model("resnet18", "imagenet", 10, 64)
    assert not made.exists()
    torch.save(resnet18().state_dict(), cached)
    assert make_model("resnet18", "imagenet", 10, 64).heads[0].out_features == 10


def test_pth_is_not_read_by_a_pytorch_that_may_run_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(WEIGHTS, tmp_path / "w.pth")
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.5.1+cu121"))
    with pytest.raises(ConfigError, match=r"2\.5\.1.*install PyTorch 2\.6"):
        read_weights(tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.safetensors").keys() == WEIGHTS.keys()
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.10.0"))
    assert read_weights(tmp_path / "w.pth").keys() == WEIGHTS.keys()


@reads_pth
@pytest.mark.parametrize(
    "wrapped",
    [
        {f"module.{key}": tensor for key, tensor in WEIGHTS.items()},
        {f"_orig_mod.{key}": tensor for key, tensor in WEIGHTS.items()},
        {"state_dict": WEIGHTS, "epoch": 3},
        {"model": {f"module.{key}": tensor for key, tensor in WEIGHTS.items()}},
        {"state_dict": {f"model._orig_mod.{key}": tensor for key, tensor in WEIGHTS.items()}, "epoch": 3},
    ],
)
def test_weights_are_found_where_training_programs_put_them(tmp_path: Path, wrapped: dict) -> None:
    torch.save(wrapped, tmp_path / "w.pth")
    read = read_weights(tmp_path / "w.pth")
    assert read.keys() == WEIGHTS.keys()
    assert all(torch.equal(read[key], WEIGHTS[key]) for key in WEIGHTS)


@reads_pth
def test_what_is_wrong_with_a_file_is_said_in_our_words(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pth")
    save_file(WEIGHTS, tmp_path / "w.bin")
    save_file({"layer.weight": torch.tensor([float("nan")])}, tmp_path / "nan.safetensors")
    (tmp_path / "README.md").write_text("# edgekd\n")
    for name, says in (
        ("whole.pth", r"save model\.state_dict\(\) alone"),
        ("w.bin", r"rename it to end in \.safetensors"),
        ("README.md", r"neither .* nor one of PyTorch; --weights takes FILE\.safetensors or FILE\.pth"),
        ("nan.safetensors", "holds NaN or infinite numbers"),
    ):
        with pytest.raises(ConfigError, match=says) as error:
            read_weights(tmp_path / name)
        assert "weights_only" not in str(error.value)
