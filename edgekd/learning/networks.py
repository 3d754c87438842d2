"""Networks that are not from torchvision: those of timm, and functions of the user; and checks of such networks.

Such a network maps normalised float images ``[N, 3, S, S]`` to logits ``[N, classes]`` and keeps its own last layer.
Making a network of the user runs the user's code, so callers must make sure that the name comes from the user.
"""

import collections
import copy
import difflib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.errors import ConfigError, TransientError
from edgekd.extensions import TIMM, Function, load_function, refuse_object, spelt, without_exit
from edgekd.files.tensors import check_writable, safetensors_pieces
from edgekd.printable import first_line, typed_line

CLOSE = 5  # number of similar names that are listed for a misspelt one
WEIGHTS = "model.safetensors"  # the file in each repository of timm's weights

Call = tuple[nn.Linear, tuple[Any, ...], Tensor]  # one call of a layer: the layer, its inputs, its output


def own_network(function: Function, classes: int) -> nn.Module:
    """The network of the user on the CPU: a module that was given, or the result of a function for `classes`.

    It is a copy because a function may always return the same network, which several learners of a process would share.

    Raises:
        ConfigError: the function cannot be loaded, raises an error, or does not return a network that can be trained.
    """
    refuse_object(function, "model")
    name = spelt(function)
    try:
        network = function if isinstance(function, nn.Module) else load_function(function)(classes)
    except ConfigError:  # it cannot be loaded
        raise
    except Exception as error:  # it is the user's code
        raise ConfigError(
            f"{name} raises {typed_line(error)}; it is called with the number of classes, {classes}"
        ) from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{name} must return a torch.nn.Module, got {type(network).__name__}")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigError(f"{name} is a network without a trainable parameter: nothing in it can learn")
    try:
        return copy.deepcopy(network).cpu()
    except Exception as error:
        raise ConfigError(f"{name} is a network that cannot be copied: {typed_line(error)}") from error


def timm_network(name: str, classes: int, *, pretrained: bool) -> nn.Module:
    """Make a network from timm's registry, on the CPU.

    Args:
        name: the name with the prefix `TIMM`; after a dot it may name the weights.
        classes: the number of classes.
        pretrained: whether to use timm's own weights, which are downloaded once.

    Raises:
        ConfigError: timm is not installed, there is no such network, or its weights are not available.
        TransientError: the weights cannot be downloaded at the moment.
    """
    try:
        import timm
    except ImportError:
        raise ConfigError(f"--model {name} needs timm: pip install timm") from None
    bare = name.removeprefix(TIMM)
    if not timm.is_model(bare):  # timm itself would also accept addresses of files and repositories
        near = difflib.get_close_matches(bare, timm.list_models(), n=CLOSE)
        hint = f"close matches: {', '.join(near)}" if near else "timm.list_models() lists them all"
        raise ConfigError(f"timm has no network '{bare}'; {hint}")
    weights: dict[str, Any] = {}
    try:
        if pretrained:
            file = _published(getattr(timm.get_pretrained_cfg(bare), "hf_hub_id", None))
            weights = {"pretrained": True, "pretrained_cfg_overlay": {"file": file}}
        network: nn.Module = timm.create_model(bare, num_classes=classes, **weights)
    except Exception as error:  # the library that downloads has many kinds of errors
        if not pretrained:
            raise ConfigError(f"timm cannot make '{bare}': {first_line(error)}") from error
        kind = TransientError if isinstance(error, OSError) else ConfigError
        raise kind(
            f"cannot get timm's weights of {bare} ({first_line(error)}); "
            "use --weights FILE with weights of your own, or --weights none to train from scratch"
        ) from error
    return network


def _published(repository: str | None) -> str:
    """The file with a network's weights; it is downloaded only once, since a box need not be online at each start."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    if repository is None:
        raise LookupError("none are published for it")
    try:
        return str(hf_hub_download(repository, WEIGHTS, local_files_only=True))
    except LocalEntryNotFoundError:
        return str(hf_hub_download(repository, WEIGHTS))


def check_answer(network: nn.Module, name: str, classes: int, size: int) -> str | None:
    """Check that `network` returns logits for images of `size` pixels. It is in evaluation mode afterwards.

    Args:
        network: the network, on the CPU.
        name: its name, for messages.
        classes: the number of classes.
        size: height and width of the images, in pixels.

    Returns:
        The name of the linear layer whose output the logits are; None: there is no such layer.

    Raises:
        ConfigError: it raises an error, or does not return floats ``[N, classes]``.
    """
    calls: list[Call] = []
    network.eval()
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    hooks = [each.register_forward_hook(lambda *call: calls.append(call)) for each in linear]
    try:
        with torch.no_grad(), without_exit():
            logits = network(_noise(1, size))
    except Exception as error:  # the user's code, or timm's, may raise any error
        raise ConfigError(
            f"{name} cannot take images of {size} pixels: {typed_line(error)}; if that is about their size, choose "
            "another --size or --model, else mend the network"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    _check_logits(logits, name, (1, classes), size)
    return _last_linear(network, logits, calls)


def _check_logits(logits: Any, name: str, shape: tuple[int, ...], size: int) -> None:
    wanted = f"{name} must return logits, floats {list(shape)} for images {[shape[0], 3, size, size]}"
    if not isinstance(logits, Tensor):
        raise ConfigError(f"{wanted}, got {type(logits).__name__}")
    if logits.shape != shape or not logits.is_floating_point():
        raise ConfigError(f"{wanted}, got {str(logits.dtype).removeprefix('torch.')} {list(logits.shape)}")


def _last_linear(network: nn.Module, logits: Tensor, calls: list[Call]) -> str | None:
    """The name of the linear layer whose output is `logits`, if it has only one name and is called once in a pass."""
    layer, inputs = next(((layer, inputs) for layer, inputs, output in calls if output is logits), (None, ()))
    times = sum(each is layer for each, _, _ in calls)
    names = [each for each, module in network.named_modules(remove_duplicate=False) if module is layer]
    if layer is None or times != 1 or len(names) != 1 or len(inputs) != 1:
        return None
        # A subclass may compute something else, and a weight that is itself computed cannot be set.
    plain = isinstance(layer.weight, nn.Parameter) and torch.equal(
        F.linear(inputs[0], layer.weight, layer.bias), logits
    )
    return names[0] if plain else None


def fit_memory(network: nn.Module, size: int) -> torch.memory_format:
    """Choose the memory format for the weights of `network`: channels last, unless the network fails with it.

    On a CPU, channels last is up to twice as fast. But then ``view`` on the output of a convolution is an error. Such a
    network gets a hook that makes its input images contiguous.
    """
    tried = copy.deepcopy(network).to(memory_format=torch.channels_last)
    try:
        with torch.no_grad():
            tried(_noise(1, size).contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        network.register_forward_pre_hook(_contiguous)
        return torch.contiguous_format
    return torch.channels_last


def _contiguous(network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(each.contiguous() for each in inputs)


def check_trainable(model: nn.Module, memory_format: torch.memory_format, name: str, classes: int, size: int) -> None:
    """Check that a copy of `model` can do a training step on two images and be saved; `model` itself does not change.

    Args:
        model: from images to logits ``[heads, N, classes]``, on the CPU.
        memory_format: the memory format of its weights in training.
        name: its name, for messages.
        classes: the number of classes.
        size: height and width of the images, in pixels.

    Raises:
        ConfigError: it cannot be trained at this size, or a checkpoint cannot hold its state.
    """
    images, labels = _noise(2, size), torch.tensor([0, classes - 1])
    trouble = None
    with torch.random.fork_rng(devices=[]):
        try:
            trained = copy.deepcopy(model).to(memory_format=memory_format).train()
            logits = trained(images.contiguous(memory_format=torch.channels_last))
            _check_logits(logits[0], name, (2, classes), size)
            loss = F.cross_entropy(logits.float().flatten(0, 1), labels.repeat(len(logits)))
            optimiser = torch.optim.SGD(trained.parameters(), lr=0.01)
            loss.backward()
            optimiser.step()
            gradients = [parameter.grad for parameter in trained.parameters() if parameter.grad is not None]
            if not all(each.isfinite().all() for each in (loss, *gradients)):
                trouble = f"on noise its loss is {float(loss.detach()):g}, or a gradient is not finite"
        except ConfigError:
            raise
        except Exception as error:  # the user's code, or timm's, may raise any error
            trouble = typed_line(error)
    if trouble is not None:
        raise ConfigError(f"{name} cannot be trained with images of {size} pixels: {trouble}")
    _check_kept(trained, model, name)


def _check_kept(trained: nn.Module, model: nn.Module, name: str) -> None:
    """Check that the state of `trained` can be written as a checkpoint, and loaded into another copy of the network.

    Raises:
        ConfigError: it cannot.
    """
    try:
        with without_exit():
            state = {key.removeprefix("backbone."): each for key, each in trained.state_dict().items()}
            check_writable(state)
            collections.deque(safetensors_pieces(state, {}), maxlen=0)  # not stored: there may be no memory for it
            copy.deepcopy(model).load_state_dict(trained.state_dict())
    except Exception as error:  # the user's code, or timm's, may raise any error
        why = str(error) if isinstance(error, ConfigError) else typed_line(error)
        raise ConfigError(
            f"no checkpoint can hold the state_dict of {name}: {why}; "
            "what need not be kept, leave out of it (register_buffer(..., persistent=False))"
        ) from error


def _noise(count: int, size: int) -> Tensor:
    """Random images, always the same; torch's global generator is not used."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))
