"""Checkpoints: written atomically, checked against their SHA-256 when they are read; only the newest are kept.

A checkpoint is a safetensors file with one metadata entry, JSON.
"""

import contextlib
import json
import logging
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from edgekd.errors import ConfigError
from edgekd.files.atomic import write_atomically
from edgekd.files.tensors import open_safetensors, safetensors_pieces, tensors_sha256
from edgekd.learning.evaluation import Accuracy
from edgekd.printable import LONGEST_WHY, printable

log = logging.getLogger("edgekd")

KEEP = 2  # checkpoints in a folder
_KEY = "edgekd"  # of the metadata entry


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointInfo:
    """The metadata of a checkpoint."""

    id: int
    step: int
    round: int  # the newest published round; -1: none
    model: str
    classes: tuple[str, ...]
    size: int  # pixels
    heads: int
    head_layers: str  # as in `ModelConfig`
    counts: dict[str, int]  # over all steps so far: `edgekd.protocol.counts.Counts`, and the bytes
    accuracy: Accuracy | None  # of the last evaluation; None: there was none yet
    made_with: dict[str, Any] = field(default_factory=dict)  # `contract.definition`; empty in older checkpoints


def save_checkpoint(folder: Path, info: CheckpointInfo, state: dict[str, Tensor]) -> Path:
    """Write ``checkpoint-STEP.safetensors``, then delete all checkpoints but the newest `KEEP`.

    Raises:
        OSError: the disk is full or not writable.
    """
    entry = asdict(info)
    if entry["accuracy"] is not None:
        del entry["accuracy"]["confusion"]  # the peer's folder has it: see `edgekd.files.evaluation_file`
    entry["sha256"] = _digest(entry, state)
    path = folder / f"checkpoint-{info.step:08d}.safetensors"
    write_atomically(path, safetensors_pieces(state, {_KEY: json.dumps(entry, sort_keys=True)}))
    others = [other for other in checkpoints(folder) if other != path]
    for old in others[KEEP - 1 :]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, in descending order of their steps."""
    found = [path for path in folder.glob("checkpoint-*.safetensors") if _step_of(path).isdecimal()]
    return sorted(found, key=lambda path: int(_step_of(path)), reverse=True)


def set_aside_later(folder: Path, step: int) -> None:
    """Rename the checkpoints of later steps than `step`, the newest sound one: they are damaged, or another version's.

    They no longer count as the newest, so that `KEEP` sound ones are kept.

    Raises:
        OSError: the folder cannot be written.
    """
    for path in checkpoints(folder):
        if int(_step_of(path)) > step:
            aside = path.with_name(f"{path.name}.unreadable")
            path.replace(aside)
            log.warning("%s is now %s", path, aside.name)


def _step_of(path: Path) -> str:
    return path.stem.partition("-")[2]


def load_checkpoint(path: Path) -> tuple[CheckpointInfo, dict[str, Tensor]]:
    """Read a checkpoint.

    Raises:
        ConfigError: the file is not a checkpoint, or is damaged.
    """
    try:
        with open_safetensors(path) as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise ValueError("it holds plain weights, no checkpoint of a peer; take one that a peer wrote")
            entry = json.loads(metadata[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
        expected = entry.pop("sha256")
        digest = _digest(entry, tensors)
        if digest == expected:  # else it may be damage that makes its fields strange
            _check_fields(entry)
        accuracy = _accuracy(**entry["accuracy"]) if entry["accuracy"] else None
        info = CheckpointInfo(**{**entry, "classes": tuple(entry["classes"]), "accuracy": accuracy})
        _check(info)
        damaged = digest != expected
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        why = _reason(error)
        raise ConfigError(f"{path} is not a readable checkpoint: {printable(why, LONGEST_WHY)}") from error
    if damaged:
        raise ConfigError(f"{path} is damaged: its contents do not match its SHA-256")
    return info, tensors


def _reason(error: Exception) -> str:
    if isinstance(error, SafetensorError):
        return f"it is damaged, or no safetensors file, as checkpoints are ({error})"
    return f"its metadata lacks {error}" if isinstance(error, KeyError) else str(error)


def load_newest(folder: Path) -> tuple[CheckpointInfo, dict[str, Tensor]] | None:
    """Read the newest valid checkpoint in `folder`; None: there is none. Damaged ones are skipped with a warning."""
    for path in checkpoints(folder):
        try:
            return load_checkpoint(path)
        except ConfigError as error:
            log.warning("%s; trying the one before it", error)
    return None


def peer_in(folder: Path) -> int | None:
    """The id of the peer whose checkpoints `folder` holds; None: there is no sound one."""
    for path in checkpoints(folder):
        with contextlib.suppress(ConfigError):  # `load_newest` tells of it
            return load_checkpoint(path)[0].id
    return None


def _check_fields(entry: dict[str, Any]) -> None:
    """See whether this version of edgekd knows the fields of the metadata, and finds those that it needs."""
    needed = {f.name for f in fields(CheckpointInfo) if f.default is MISSING and f.default_factory is MISSING}
    unknown = sorted(entry.keys() - {f.name for f in fields(CheckpointInfo)})
    lacking = sorted(needed - entry.keys())
    if unknown or lacking:
        why = f"this one does not know '{unknown[0]}'" if unknown else f"'{lacking[0]}' is missing"
        raise ValueError(f"another version of edgekd wrote it ({why}); use that version, or upgrade this one")


def _check(info: CheckpointInfo) -> None:
    """See whether the metadata is what its fields say."""
    numbers, texts = (info.id, info.step, info.size, info.heads, *info.counts.values()), (info.model, info.head_layers)
    if not all(type(number) is int and number >= 0 for number in numbers) or type(info.round) is not int:
        raise ValueError("a number in its metadata is no whole number from 0")
    if not all(isinstance(text, str) for text in (*texts, *info.classes)):
        raise ValueError("a name in its metadata is no text")
    if not isinstance(info.made_with, dict):
        raise ValueError("the settings in its metadata are no table")


def _accuracy(overall: float, own: float, heads: list[float], samples: int | None = None) -> Accuracy | None:
    """None if it is not known on how many images it was measured, as in older checkpoints: it is measured anew."""
    return None if samples is None else Accuracy(overall, own, tuple(heads), samples)


def _digest(entry: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """The SHA-256 of the tensors and of the metadata as they are written, so that later fields change nothing."""
    return tensors_sha256(tensors, json.dumps(entry, sort_keys=True).encode())
