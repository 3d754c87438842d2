"""Networks: a torchvision classifier as the backbone, our own heads, and pretrained weights."""

import contextlib
import copy
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.config import ModelConfig
from edgekd.errors import ConfigError
from edgekd.files.tensors import open_safetensors
from edgekd.names import meant
from edgekd.paths import expanded

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")  # before all names of a file
PTH_SINCE = "2.6.0"  # the first PyTorch whose `weights_only` runs no code: CVE-2025-32434


class Classifier(nn.Module):
    """A torchvision network without its last layer, and our own heads: the first is linear, the others have layers."""

    def __init__(
        self, backbone: nn.Module, last: str, features: int, classes: int, heads: int, hidden: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.backbone, self._last = backbone, last
        first = nn.Linear(features, classes)
        self.heads = nn.ModuleList([first, *(_head(features, hidden, classes) for _ in range(heads - 1))])

    def forward(self, images: Tensor) -> Tensor:
        """The logits ``[heads, batch, classes]`` of normalised images ``[batch, 3, H, W]``."""
        features = self.backbone(images)
        return torch.stack([head(features) for head in self.heads])

    def with_one_head(self, head: int) -> nn.Module:
        """A copy of the torchvision network that has this head as its last layer, in the same mode.

        Its logits are ``[batch, classes]``. With a linear head the names in its state_dict are torchvision's own.
        """
        network = copy.deepcopy(self.backbone)
        _set_module(network, self._last, copy.deepcopy(self.heads[head]))
        return network


def _head(features: int, hidden: tuple[int, ...], classes: int) -> nn.Sequential:
    """Linear layers with ReLUs between them."""
    widths = (features, *hidden, classes)
    layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def model_from_config(config: ModelConfig, id: int, *, weights: str, classes: int, size: int) -> Classifier:
    """The network of client `id`, made from its settings; see `make_model`.

    Args:
        config: the network's name, the heads and their layers.
        id: of the client; it chooses a network if the settings list several.
        weights: from `edgekd.config.Config.weights`, since `config.weights` may be None.
        classes: the number of classes.
        size: side of the input images, in pixels.

    Raises:
        ConfigError: as in `make_model`.
    """
    return make_model(config.for_client(id), weights, classes, size, heads=config.heads, hidden=config.hidden_layers())


def make_model(
    name: str, weights: str, classes: int, size: int, *, heads: int = 1, hidden: tuple[int, ...] = ()
) -> Classifier:
    """A classifier with randomly initialised heads; the numbers come from torch's global generator.

    Args:
        name: of a torchvision classifier, e.g. ``resnet18``.
        weights: ``none``; ``imagenet``: torchvision's weights, downloaded; or a ``.safetensors`` or ``.pth`` file with
            the network's state_dict. The last layer of the weights is not used.
        classes: the number of classes.
        size: side of the input images, in pixels.
        heads: the number of heads, >= 1.
        hidden: widths of the hidden layers of all heads but the first.

    Raises:
        ConfigError: there is no such network, it does not accept images of this size, or the weights are missing or do
            not fit.
    """
    from torchvision.models import get_model, get_model_weights, list_models

    known = list_models(module=__import__("torchvision.models", fromlist=["models"]))
    if name not in known:
        hint = meant(name, known)
        raise ConfigError(
            f"unknown model '{name}'; {hint + ' ' if hint else ''}torchvision's classifiers are: {', '.join(known)}"
        )
    if weights == "imagenet":
        try:
            published = get_model_weights(name).DEFAULT
            published.get_state_dict(check_hash=True, weights_only=True)  # torchvision would run code from it
            network = get_model(name, weights=published)
        except (OSError, RuntimeError, UnpicklingError) as error:  # URLError is an OSError; a bad hash a RuntimeError
            raise ConfigError(
                f"cannot get torchvision's ImageNet weights of {name} ({_first_line(error)}); "
                "use --weights FILE with weights of your own, or --weights none to train from scratch"
            ) from error
    else:
        network = get_model(name, weights=None)
    last, features = _cut_last_layer(network, name)
    if weights not in ("imagenet", "none"):
        _load_backbone(network, expanded(weights), name)
    model = Classifier(network, last, features, classes, heads, hidden)
    _check_size(model, name, size)
    return model


def _check_size(model: Classifier, name: str, size: int) -> None:
    """See whether `model` accepts images of `size` pixels."""
    model.eval()
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, size, size))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"model {name} cannot take images of {size} pixels: {error}; choose another --size"
        ) from error
    model.train()


def _cut_last_layer(network: nn.Module, name: str) -> tuple[str, int]:
    """Replace the last linear layer by an identity; returns the layer's name and its number of input features."""
    path = next((p for p, m in reversed(list(network.named_modules())) if isinstance(m, nn.Linear)), None)
    if path is None or getattr(network, "aux_logits", False):
        raise ConfigError(
            f"model {name} does not end in one linear layer, so it cannot be given our heads; try resnet18"
        )
    layer = network.get_submodule(path)
    assert isinstance(layer, nn.Linear)
    _set_module(network, path, nn.Identity())
    return path, layer.in_features


def _set_module(network: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, leaf = path.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)


def _load_backbone(network: nn.Module, path: Path, name: str) -> None:
    """Load a weights file; it must hold all weights of `network`, and may hold more."""
    loaded = read_weights(path)
    own = network.state_dict()
    missing = [key for key in own if key not in loaded and not key.endswith("num_batches_tracked")]
    if missing:
        raise ConfigError(f"{path} holds no weights of {name}: '{missing[0]}' is missing ({len(missing)} in all)")
    for key, tensor in own.items():
        if key in loaded and loaded[key].shape != tensor.shape:
            raise ConfigError(
                f"{path} does not fit {name}: '{key}' is {list(loaded[key].shape)} there, {list(tensor.shape)} needed"
            )
    network.load_state_dict({key: loaded.get(key, tensor).to(tensor.dtype) for key, tensor in own.items()})


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` or ``.pth`` file. No code from the file is run.

    Raises:
        ConfigError: there is no such file, it holds no state_dict, or this PyTorch is too old for a ``.pth`` file.
    """
    if not path.is_file():
        raise ConfigError(f"no weights file {path}; --weights takes imagenet, none, FILE.safetensors or FILE.pth")
    safe = path.suffix == ".safetensors"
    if not safe and torch.__version__ < PTH_SINCE:
        advice = f"install PyTorch {PTH_SINCE} or newer, or give a .safetensors file"
        raise ConfigError(f"PyTorch {torch.__version__} may run code that is in {path} (CVE-2025-32434): {advice}")
    try:
        loaded = _load_safetensors(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader has its own errors; all mean that the file is invalid
        raise ConfigError(f"{path} is not a readable weights file: {_unreadable(path, error)}") from error
    loaded = _unwrapped(loaded)
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ConfigError(f"{path} holds no state_dict: a mapping from names to tensors is needed")
    for key, tensor in loaded.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested or tensor.is_meta:
            raise ConfigError(f"{path}: {key} is no plain tensor; save it dense, without quantisation")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ConfigError(f"{path}: {key} holds NaN or infinite numbers; take weights of before training diverged")
    return _unprefixed(loaded)


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    with open_safetensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)


def _unreadable(path: Path, error: Exception) -> str:
    """Why a file cannot be read, in our words where the reader's give advice that would run code from the file."""
    if not isinstance(error, UnpicklingError):
        return _first_line(error)
    with contextlib.suppress(Exception):
        _load_safetensors(path)
        return "its content is safetensors; rename it to end in .safetensors"
    return "it holds more than tensors, such as a whole model; save model.state_dict() alone"


def _unwrapped(loaded: Any) -> Any:
    """The state_dict of a file in which training programs keep it beside other things."""
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    return loaded


def _unprefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without what DataParallel, torch.compile and Lightning put before each name."""
    while state and (prefix := next((p for p in PREFIXES if all(key.startswith(p) for key in state)), None)):
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)  # an empty .pth file: EOFError without a message
