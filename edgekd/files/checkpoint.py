"""Checkpoints: written atomically, checked by their SHA-256 when read, the last few kept.

They are safetensors files, written by hand, a tensor at a time: the library's writer needs as much memory again as they
are long, which a peer that has just run out of it does not have.
"""

import hashlib
import json
import logging
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from edgekd.errors import ConfigError
from edgekd.files.atomic import write_atomically
from edgekd.learning.evaluation import Accuracy

log = logging.getLogger("edgekd")

KEEP = 2
_KEY = "edgekd"  # of the one metadata entry, JSON
_DTYPES = {  # as safetensors calls them
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointInfo:
    """What a checkpoint is of."""

    id: int
    step: int
    round: int  # the newest that was published; -1: none
    model: str
    classes: tuple[str, ...]
    size: int  # pixels
    heads: int
    head_layers: str  # as in `ModelConfig`
    counts: dict[str, int]  # of the steps so far: the fields of `peer.node.node.Counts`
    accuracy: Accuracy | None  # of the last evaluation; None: not evaluated yet


def save_checkpoint(folder: Path, info: CheckpointInfo, state: dict[str, Tensor]) -> Path:
    """Write ``checkpoint-STEP.safetensors`` and delete all but the newest `KEEP`.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    entry = {**asdict(info), "sha256": _digest(info, state)}
    path = folder / f"checkpoint-{info.step:08d}.safetensors"
    write_atomically(path, _file_bytes(state, {_KEY: json.dumps(entry, sort_keys=True)}))
    others = [other for other in checkpoints(folder) if other != path]
    for old in others[KEEP - 1 :]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, the newest step first."""
    found = [path for path in folder.glob("checkpoint-*.safetensors") if _step_of(path).isdecimal()]
    return sorted(found, key=lambda path: int(_step_of(path)), reverse=True)


def _step_of(path: Path) -> str:
    return path.stem.partition("-")[2]


def load_checkpoint(path: Path) -> tuple[CheckpointInfo, dict[str, Tensor]]:
    """What was saved.

    Raises:
        ConfigError: the file is not a checkpoint, or is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            entry = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
        expected = entry.pop("sha256")
        accuracy = _accuracy(**entry["accuracy"]) if entry["accuracy"] else None
        info = CheckpointInfo(**{**entry, "classes": tuple(entry["classes"]), "accuracy": accuracy})
        damaged = _digest(info, tensors) != expected
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} is not a readable checkpoint: {error}") from error
    if damaged:
        raise ConfigError(f"{path} is damaged: its contents do not match its SHA-256")
    return info, tensors


def load_newest(folder: Path) -> tuple[CheckpointInfo, dict[str, Tensor]] | None:
    """The newest sound checkpoint in `folder`; damaged ones are passed over with a warning; None: there is none."""
    for path in checkpoints(folder):
        try:
            return load_checkpoint(path)
        except ConfigError as error:
            log.warning("%s; trying the one before it", error)
    return None


def _accuracy(overall: float, own: float, heads: list[float]) -> Accuracy:
    return Accuracy(overall, own, tuple(heads))


def _file_bytes(tensors: dict[str, Tensor], metadata: dict[str, str]) -> Iterator[bytes | memoryview]:
    """The file in pieces."""
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # each is aligned so
    header: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for name in names:
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    for name in names:
        yield _values(tensors[name])


def _values(tensor: Tensor) -> memoryview:
    """The bytes of a tensor in the order of its indices; a copy only where it is on a device or in another order."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data


def _digest(info: CheckpointInfo, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(asdict(info), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(_values(tensor))
    return digest.hexdigest()
