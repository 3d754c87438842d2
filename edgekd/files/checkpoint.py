"""Checkpoints: written atomically, and checked against their SHA-256 when they are read.

A checkpoint is a safetensors file with one metadata entry, which is JSON. A folder keeps the newest checkpoints and, on
request, the one of the best evaluation.
"""

import contextlib
import itertools
import json
import logging
import os
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from torch import Tensor

from edgekd.errors import ConfigError
from edgekd.files.atomic import link_atomically, write_atomically
from edgekd.files.folders import BEST, CURRENT, checkpoints, numbered
from edgekd.files.tensors import open_safetensors, safetensors_pieces, tensors_sha256
from edgekd.learning.evaluation import Accuracy
from edgekd.printable import LONGEST_WHY, printable

log = logging.getLogger("edgekd")

KEEP = 2  # checkpoints kept in a folder, besides the best one
_KEY = "edgekd"  # name of the metadata entry


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointInfo:
    """The metadata of a checkpoint."""

    id: int
    step: int
    round: int  # the newest published round; -1: none
    model: str
    classes: tuple[str, ...]
    size: int  # height and width of the images, in pixels
    heads: int
    head_layers: str  # see `ModelConfig`
    counts: dict[str, int]  # over all steps so far: those of `edgekd.protocol.counts.Counts`, and the bytes
    accuracy: Accuracy | None  # of the last evaluation, perhaps at an earlier step; None: there was none
    made_with: dict[str, Any] = field(default_factory=dict)  # the `contract.definition`; empty in older checkpoints


class Loaded(NamedTuple):
    """The content of a checkpoint file."""

    info: CheckpointInfo
    state: dict[str, Tensor]  # of the learner, as `Learner.state` gives it
    path: Path  # of the file


def save_checkpoint(folder: Path, info: CheckpointInfo, state: dict[str, Tensor]) -> Path:
    """Write ``checkpoint-STEP.safetensors``, then delete all numbered checkpoints except the newest `KEEP`.

    The target of the link ``current`` is never deleted, since a program may be about to open it.

    Returns:
        The path of the new checkpoint.

    Raises:
        OSError: the disk is full or not writable.
    """
    path = folder / f"checkpoint-{info.step:08d}.safetensors"
    _write(path, info, state)
    others = [other for other in numbered(folder) if other != path]
    for old in others[KEEP - 1 :]:
        if old.name != _current(folder):
            old.unlink(missing_ok=True)
    return path


def save_best(folder: Path, info: CheckpointInfo, state: dict[str, Tensor]) -> Path:
    """Write ``best.safetensors``, replacing an earlier one.

    Raises:
        OSError: the disk is full or not writable. Then the earlier one is unchanged.
    """
    path = folder / BEST
    _write(path, info, state)
    return path


def link_current(checkpoint: Path) -> None:
    """Make the link ``current`` in the folder of `checkpoint` point to it.

    Raises:
        OSError: the file system has no symbolic links, or the folder is not writable.
    """
    link_atomically(checkpoint.with_name(CURRENT), checkpoint.name)


def _current(folder: Path) -> str | None:
    """The name of the checkpoint to which the link points; None: there is no link."""
    try:
        return os.readlink(folder / CURRENT)
    except OSError:
        return None


def _write(path: Path, info: CheckpointInfo, state: dict[str, Tensor]) -> None:
    entry = asdict(info)
    if entry["accuracy"] is not None:
        del entry["accuracy"]["confusion"]  # it is stored in the peer's folder: see `edgekd.files.evaluation_file`
    entry["sha256"] = _digest(entry, state)
    write_atomically(path, safetensors_pieces(state, {_KEY: json.dumps(entry, sort_keys=True)}))


def set_aside_unread(folder: Path, step: int) -> None:
    """Rename the checkpoints that are newer than `step`, so that they do not count among the `KEEP` newest.

    `step` is that of the newest valid checkpoint. The newer ones are damaged, or were written by another version. If no
    numbered checkpoint has this step, all of them are renamed: then only the best one can be valid.

    Raises:
        OSError: the folder cannot be written.
    """
    for path in itertools.takewhile(lambda path: int(path.stem.partition("-")[2]) != step, numbered(folder)):
        aside = path.with_name(f"{path.name}.unreadable")
        path.replace(aside)
        log.warning("%s is now %s", path, aside.name)


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
        if digest == expected:  # otherwise strange fields may come from damage, which is reported below
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
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"its metadata lacks {error}" if isinstance(error, KeyError) else str(error)


def load_newest(folder: Path) -> Loaded | None:
    """Read the newest valid checkpoint in `folder`; if there is none, read the best one; None: there is no checkpoint.

    Damaged checkpoints are skipped with a warning.
    """
    tried: set[Path] = set()
    while left := [path for path in checkpoints(folder) if path not in tried]:
        path = left[0]
        tried.add(path)
        try:
            return Loaded(*load_checkpoint(path), path)
        except ConfigError as error:
            if path.exists():  # otherwise its peer has deleted it for a newer one, which is read next
                log.warning("%s%s", error, "; trying the one before it" if left[1:] else "")
    return None


def load_best(folder: Path) -> Loaded | None:
    """Read the checkpoint of the best evaluation in `folder`; None: there is none.

    Raises:
        ConfigError: it is damaged.
    """
    path = folder / BEST
    return Loaded(*load_checkpoint(path), path) if path.is_file() else None


def peer_in(folder: Path) -> int | None:
    """The id of the peer whose checkpoints are in `folder`; None: there is no valid checkpoint."""
    for path in checkpoints(folder):
        with contextlib.suppress(ConfigError):  # `load_newest` reports it
            return load_checkpoint(path)[0].id
    return None


def _check_fields(entry: dict[str, Any]) -> None:
    """Check that this version of edgekd knows all fields of the metadata, and that none is missing.

    Raises:
        ValueError: another version wrote the checkpoint.
    """
    needed = {f.name for f in fields(CheckpointInfo) if f.default is MISSING and f.default_factory is MISSING}
    unknown = sorted(entry.keys() - {f.name for f in fields(CheckpointInfo)})
    lacking = sorted(needed - entry.keys())
    if unknown or lacking:
        why = f"this one does not know '{unknown[0]}'" if unknown else f"'{lacking[0]}' is missing"
        raise ValueError(f"another version of edgekd wrote it ({why}); use that version, or upgrade this one")


def _check(info: CheckpointInfo) -> None:
    """Check the types and ranges of the fields.

    Raises:
        ValueError: a field has a wrong type, or a number is negative.
    """
    numbers, texts = (info.id, info.step, info.size, info.heads, *info.counts.values()), (info.model, info.head_layers)
    if not all(type(number) is int and number >= 0 for number in numbers) or type(info.round) is not int:
        raise ValueError("a number in its metadata is no whole number from 0")
    if not all(isinstance(text, str) for text in (*texts, *info.classes)):
        raise ValueError("a name in its metadata is no text")
    if not isinstance(info.made_with, dict):
        raise ValueError("the settings in its metadata are no table")


def _accuracy(
    overall: float, own: float, heads: list[float], samples: int | None = None, step: int | None = None
) -> Accuracy | None:
    """Make the accuracy from its fields; None in older checkpoints without the number of images: evaluate again."""
    return None if samples is None else Accuracy(overall, own, tuple(heads), samples, step=step)


def _digest(entry: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """The SHA-256 of the tensors and of the metadata exactly as written, so that later fields do not change it."""
    return tensors_sha256(tensors, json.dumps(entry, sort_keys=True).encode())
