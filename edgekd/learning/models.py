"""Networks for classification: a backbone, heads, and pretrained weights."""

import copy
from collections.abc import Sequence
from itertools import pairwise
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from edgekd.config import ModelConfig
from edgekd.errors import ConfigError, TransientError
from edgekd.extensions import TIMM, Function, is_own_network, spelt, without_exit
from edgekd.learning.networks import check_answer, check_trainable, fit_memory, own_network, timm_network
from edgekd.learning.weights import load_backbone
from edgekd.names import meant
from edgekd.paths import expanded
from edgekd.printable import first_line

OTHERS = "timm:NAME, and a function of your own, package.module:function or FILE.py:function"  # not torchvision's


class Classifier(nn.Module):
    """A network without its last layer (the backbone), and one or more heads in the place of that layer.

    Args:
        backbone: from normalised images to features ``[N, F]``, with an identity in the place of its last layer.
        last: the name of this layer; None: the backbone is a whole network, and its only head is an identity.
        heads: from features to logits ``[N, classes]``; the first is linear, the others may have hidden layers.
        memory_format: the memory format of the weights in training.
    """

    def __init__(
        self,
        backbone: nn.Module,
        last: str | None,
        heads: list[nn.Module],
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        super().__init__()
        self.backbone, self._last, self.memory_format = backbone, last, memory_format
        self.heads = nn.ModuleList(heads)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits ``[heads, batch, classes]`` of normalised images ``[batch, 3, H, W]``."""
        with without_exit():
            features = self.backbone(images)
        return torch.stack([head(features) for head in self.heads])

    def with_one_head(self, head: int) -> nn.Module:
        """Make a copy of the network with this head as its last layer, in the same mode.

        Its logits are ``[batch, classes]``. If the head is linear, the names in its state_dict are those of the
        original network.
        """
        network = copy.deepcopy(self.backbone)
        if self._last is not None:
            _set_module(network, self._last, copy.deepcopy(self.heads[head]))
        return network


def _more_heads(features: int, hidden: tuple[int, ...], classes: int, heads: int) -> list[nn.Module]:
    """Make all heads except the first: linear layers with ReLUs between them."""
    widths = (features, *hidden, classes)
    made = [[layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())] for _ in range(heads - 1)]
    return [nn.Sequential(*layers[:-1]) for layers in made]


def model_from_config(config: ModelConfig, id: int, *, weights: str, classes: int, size: int) -> Classifier:
    """Make the network of client `id` from its settings, and check that it can be trained; see `make_model`.

    Args:
        config: the network's name, the heads and their layers.
        id: the id of the client; it chooses a network if the settings list several.
        weights: from `edgekd.config.Config.weights`, since `config.weights` may be None.
        classes: the number of classes.
        size: height and width of the input images, in pixels.

    Raises:
        ConfigError: as for `make_model`; or the network cannot be trained.
    """
    name = config.for_client(id)
    model = make_model(name, weights, classes, size, heads=config.heads, hidden=config.hidden_layers())
    if _is_other(name):
        check_trainable(model, model.memory_format, spelt(name), classes, size)
    return model


def make_model(
    name: Function, weights: str, classes: int, size: int, *, heads: int = 1, hidden: tuple[int, ...] = ()
) -> Classifier:
    """Make a classifier in training mode; random weights come from torch's global generator.

    A torchvision network gets a new last layer. Other networks are made for `classes`, and their last layer is the
    first head.

    Args:
        name: of a torchvision classifier, e.g. ``resnet18``; ``timm:NAME``; the name of a function of the user; that
            function itself; or a ``torch.nn.Module``. The code of such a function is run. So its name must be the
            user's own word, not that of a file or of a neighbour.
        weights: ``none``; ``imagenet``: torchvision's or timm's weights, downloaded; or a ``.safetensors`` or ``.pth``
            file with the network's state_dict, whose last layer is not used. With ``none`` and ``imagenet``, a function
            of the user decides itself.
        classes: the number of classes.
        size: height and width of the input images, in pixels.
        heads: the number of heads, >= 1.
        hidden: the widths of the hidden layers of all heads except the first.

    Raises:
        ConfigError: there is no such network, it does not accept images of this size, it does not end in a linear layer
            although one is needed, or the weights are missing or do not fit.
    """
    if _is_other(name):
        model = _other(name, weights, classes, size, heads, hidden)
    else:
        model = _torchvisions(spelt(name), weights, classes, heads, hidden)
        _check_size(model, spelt(name), size)
    model.train()
    return model


def _is_other(name: Function) -> bool:
    return is_own_network(name) or spelt(name).startswith(TIMM)


def _other(given: Function, weights: str, classes: int, size: int, heads: int, hidden: tuple[int, ...]) -> Classifier:
    """A network of timm or of the user. Its linear last layer, where it has one, is the first head."""
    name = spelt(given)
    own = is_own_network(given)
    network = own_network(given, classes) if own else timm_network(name, classes, pretrained=weights == "imagenet")
    last = check_answer(network, name, classes, size)
    if last is None and heads > 1:
        raise ConfigError(
            f"--heads {heads} need the features before a last layer that is linear, and {name} has none; use --heads 1"
        )
    first: nn.Module = nn.Identity()
    more: list[nn.Module] = []
    if last is not None:
        layer = network.get_submodule(last)
        assert isinstance(layer, nn.Linear)
        _set_module(network, last, nn.Identity())
        first, more = layer, _more_heads(layer.in_features, hidden, classes, heads)
    if weights not in ("imagenet", "none"):
        load_backbone(network, expanded(weights), name)
    return Classifier(network, last, [first, *more], fit_memory(network, size))


def _torchvisions(name: str, weights: str, classes: int, heads: int, hidden: tuple[int, ...]) -> Classifier:
    from torchvision.models import get_model, get_model_weights, list_models

    known = list_models(module=__import__("torchvision.models", fromlist=["models"]))
    if name not in known:
        raise ConfigError(f"unknown model '{name}'; {_advice(name, known)}")
    if weights == "imagenet":
        try:
            published = get_model_weights(name).DEFAULT
            published.get_state_dict(check_hash=True, weights_only=True)  # torchvision would run code from it
            network = get_model(name, weights=published)
        except (OSError, RuntimeError, UnpicklingError) as error:  # URLError is an OSError, a wrong hash a RuntimeError
            raise TransientError(
                f"cannot get torchvision's ImageNet weights of {name} ({first_line(error)}); "
                "use --weights FILE with weights of your own, or --weights none to train from scratch"
            ) from error
    else:
        network = get_model(name, weights=None)
    last, features = _cut_last_layer(network, name)
    if weights not in ("imagenet", "none"):
        load_backbone(network, expanded(weights), name)
    return Classifier(network, last, [nn.Linear(features, classes), *_more_heads(features, hidden, classes, heads)])


def _advice(name: str, known: Sequence[str]) -> str:
    """The advice about an unknown name: the nearest known name, or else all known names."""
    if name.endswith(".py"):
        return f"a file is named with the function in it that makes the network: {name}:FUNCTION"
    if hint := meant(name, known):
        return hint
    return f"torchvision's classifiers are: {', '.join(known)}; besides there are {OTHERS}"


def _check_size(model: Classifier, name: str, size: int) -> None:
    """Check that `model` accepts images of `size` pixels."""
    model.eval()
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, size, size))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"model {name} cannot take images of {size} pixels: {error}; choose another --size"
        ) from error


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
