"""Files of weights: ``.safetensors`` and ``.pth``. What is in them is read, and never run."""

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

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")  # before all names of a file
PTH_SINCE = "2.6.0"  # the first PyTorch whose `weights_only` runs no code: CVE-2025-32434


def load_backbone(network: nn.Module, path: Path, name: str) -> None:
    """Load a weights file; it must hold all weights of `network`, and may hold more.

    Args:
        network: without its last layer.
        path: of the file.
        name: of the network, for messages.

    Raises:
        ConfigError: the file is not readable, lacks weights, or has other shapes.
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
    """Why ``load_state_dict`` has refused a state_dict, on one line; the names of weights may be very many."""
    return printable(str(error).splitlines()[-1].strip(), LONGEST_WHY)


def read_weights(path: Path, needed: Collection[str] = ()) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` or ``.pth`` file. No code from the file is run.

    Args:
        path: of the file.
        needed: names that are looked for. What is before all names of a file is taken away until these are there; if
            none are given, as often as it can be.

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
    return _unprefixed(loaded, needed)


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    with open_safetensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)


def _unreadable(path: Path, error: Exception) -> str:
    """Why a file cannot be read, in our words where the reader's give advice that would run code from the file."""
    if not isinstance(error, UnpicklingError):
        return first_line(error)
    with contextlib.suppress(Exception):
        _load_safetensors(path)
        return "its content is safetensors; rename it to end in .safetensors"
    if not _is_pickled(path):
        return "it is neither a safetensors file nor one of PyTorch; --weights takes FILE.safetensors or FILE.pth"
    return "it holds more than tensors, such as a whole model; save model.state_dict() alone"


def _is_pickled(path: Path) -> bool:
    """Whether it begins as what ``torch.save`` writes does: today a ZIP archive, before PyTorch 1.6 a pickle."""
    with path.open("rb") as file:
        return file.read(4).startswith((b"PK\x03\x04", b"\x80"))


def _unwrapped(loaded: Any) -> Any:
    """The state_dict of a file in which training programs keep it beside other things."""
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    return loaded


def _unprefixed(state: dict[str, Tensor], needed: Collection[str]) -> dict[str, Tensor]:
    """Without what DataParallel, torch.compile and Lightning put before each name."""
    while state and not (needed and state.keys() >= set(needed)):
        prefix = next((p for p in PREFIXES if all(key.startswith(p) for key in state)), None)
        if prefix is None:
            break
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state
