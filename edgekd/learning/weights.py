"""Reading files of weights, ``.safetensors`` and ``.pth``, without running code from them."""

import contextlib
from collections.abc import Collection
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.errors import ConfigError
from edgekd.files.tensors import open_safetensors
from edgekd.names import WEIGHT_NAMES, with_nearest
from edgekd.printable import LONGEST_WHY, first_line, printable

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")  # that all names in a file may have
PTH_SINCE = "2.6.0"  # the first PyTorch whose `weights_only` runs no code: CVE-2025-32434


def load_backbone(network: nn.Module, path: Path, name: str) -> None:
    """Load a weights file into `network`. It must hold all weights of the network, and may hold more.

    Args:
        network: the network without its last layer.
        path: the file.
        name: the name of the network, for messages.

    Raises:
        ConfigError: the file is not readable, lacks weights, or has weights of other shapes.
    """
    own = network.state_dict()
    needed = [key for key in own if not key.endswith("num_batches_tracked")]
    loaded = read_weights(path, needed)
    missing = [key for key in needed if key not in loaded]
    if missing:
        raise ConfigError(f"{path} holds no weights of {name}: '{missing[0]}' is missing ({len(missing)} in all)")
    for key, tensor in own.items():
        if key in loaded and loaded[key].shape != tensor.shape:
            raise ConfigError(
                f"{path} does not fit {name}: '{key}' is {list(loaded[key].shape)} there, {list(tensor.shape)} needed"
            )
    network.load_state_dict({key: loaded.get(key, tensor).to(tensor.dtype) for key, tensor in own.items()})


def misfit(error: RuntimeError) -> str:
    """The reason, on one line, why ``load_state_dict`` refused a state_dict; it may name very many weights."""
    return printable(str(error).splitlines()[-1].strip(), LONGEST_WHY)


def read_weights(path: Path, needed: Collection[str] = ()) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` or ``.pth`` file. No code from the file is run.

    Args:
        path: the file.
        needed: names that must be found. Prefixes that all names have (`PREFIXES`) are removed until these are found.
            If it is empty, all such prefixes are removed.

    Raises:
        ConfigError: there is no such file, it holds no state_dict, or this PyTorch is too old for a ``.pth`` file.
    """
    if not path.is_file():
        why = f"no weights file {path}; --weights takes imagenet, none, FILE.safetensors or FILE.pth"
        raise ConfigError(with_nearest(why, path, WEIGHT_NAMES))
    safe = path.suffix == ".safetensors"
    if not safe and torch.__version__ < PTH_SINCE:
        advice = f"install PyTorch {PTH_SINCE} or newer, or give a .safetensors file"
        raise ConfigError(f"PyTorch {torch.__version__} may run code that is in {path} (CVE-2025-32434): {advice}")
    try:
        loaded = _load_safetensors(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader has its own errors, and all mean that the file is invalid
        raise ConfigError(f"{path} is not a readable weights file: {_unreadable(path, error)}") from error
    loaded = _unwrapped(loaded)
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ConfigError(f"{path} holds no state_dict: a mapping from names to tensors is needed")
    for key, tensor in loaded.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested or tensor.is_meta:
            raise ConfigError(f"{path}: {key} is no plain tensor; save it dense, without quantisation")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ConfigError(f"{path}: {key} holds NaN or infinite numbers; take weights of before training diverged")
    return _unprefixed(loaded, needed)


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    with open_safetensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)


def _unreadable(path: Path, error: Exception) -> str:
    """The reason why a file cannot be read. PyTorch's own message is replaced, since its advice would run its code."""
    if not isinstance(error, UnpicklingError):
        return first_line(error)
    with contextlib.suppress(Exception):
        _load_safetensors(path)
        return "its content is safetensors; rename it to end in .safetensors"
    if not _is_pickled(path):
        return "it is neither a safetensors file nor one of PyTorch; --weights takes FILE.safetensors or FILE.pth"
    return "it holds more than tensors, such as a whole model; save model.state_dict() alone"


def _is_pickled(path: Path) -> bool:
    """Whether it begins like a file of ``torch.save``: today a ZIP archive, before PyTorch 1.6 a pickle."""
    with path.open("rb") as file:
        return file.read(4).startswith((b"PK\x03\x04", b"\x80"))


def _unwrapped(loaded: Any) -> Any:
    """The state_dict in a file in which training programs store it together with other things."""
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    return loaded


def _unprefixed(state: dict[str, Tensor], needed: Collection[str]) -> dict[str, Tensor]:
    """Remove the prefixes that DataParallel, torch.compile and Lightning put before each name."""
    while state and not (needed and state.keys() >= set(needed)):
        prefix = next((p for p in PREFIXES if all(key.startswith(p) for key in state)), None)
        if prefix is None:
            break
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state
