"""Checkpoints: written atomically, checked against their SHA-256 when they are read.

A checkpoint is a safetensors file with one metadata entry, JSON. The newest are kept, and the one of the best
evaluation where that is asked for.
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

KEEP = 2  # checkpoints in a folder, beside the best
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
    accuracy: Accuracy | None  # of the last evaluation, perhaps of an earlier step; None: there was none yet
    made_with: dict[str, Any] = field(default_factory=dict)  # `contract.definition`; empty in older checkpoints


class Loaded(NamedTuple):
    """A checkpoint that was found in a folder."""

    info: CheckpointInfo
    state: dict[str, Tensor]
    path: Path


def save_checkpoint(folder: Path, info: CheckpointInfo, state: dict[str, Tensor]) -> Path:
    """Write ``checkpoint-STEP.safetensors``, then delete all of these but the newest `KEEP`.

    That to which the link ``current`` leads stays, however old: a program may be about to open it.

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
    """Write ``best.safetensors``, in the place of the one before.

    Raises:
        OSError: the disk is full or not writable. The one before is unchanged.
    """
    path = folder / BEST
    _write(path, info, state)
    return path


def link_current(checkpoint: Path) -> None:
    """Let the link ``current`` in the folder of `checkpoint` lead to it.

    Raises:
        OSError: there are no symbolic links here, or the folder cannot be written.
    """
    link_atomically(checkpoint.with_name(CURRENT), checkpoint.name)


def _current(folder: Path) -> str | None:
    """The name of the checkpoint that the link leads to; None: there is no link."""
    try:
        return os.readlink(folder / CURRENT)
    except OSError:
        return None


def _write(path: Path, info: CheckpointInfo, state: dict[str, Tensor]) -> None:
    entry = asdict(info)
    if entry["accuracy"] is not None:
        del entry["accuracy"]["confusion"]  # the peer's folder has it: see `edgekd.files.evaluation_file`
    entry["sha256"] = _digest(entry, state)
    write_atomically(path, safetensors_pieces(state, {_KEY: json.dumps(entry, sort_keys=True)}))


def set_aside_unread(folder: Path, step: int) -> None:
    """Rename what is newer than the checkpoint of `step`, the newest sound one: it is damaged, or another version's.

    So it does not count among the `KEEP` that stay. Where there is none of `step`, none is sound but perhaps the best.

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
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"its metadata lacks {error}" if isinstance(error, KeyError) else str(error)


def load_newest(folder: Path) -> Loaded | None:
    """Read the newest valid checkpoint in `folder`, or else the best one; None: there is none.

    Damaged ones are skipped with a warning.
    """
    tried: set[Path] = set()
    while left := [path for path in checkpoints(folder) if path not in tried]:
        path = left[0]
        tried.add(path)
        try:
            return Loaded(*load_checkpoint(path), path)
        except ConfigError as error:
            if path.exists():  # else its peer has deleted it for a newer one, which is read next
                log.warning("%s%s", error, "; trying the one before it" if left[1:] else "")
    return None


def load_best(folder: Path) -> Loaded | None:
    """Read the checkpoint of the best evaluation in `folder`; None: it is not kept there.

    Raises:
        ConfigError: it is damaged.
    """
    path = folder / BEST
    return Loaded(*load_checkpoint(path), path) if path.is_file() else None


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


def _accuracy(
    overall: float, own: float, heads: list[float], samples: int | None = None, step: int | None = None
) -> Accuracy | None:
    """None if it is not known on how many images it was measured, as in older checkpoints: it is measured anew."""
    return None if samples is None else Accuracy(overall, own, tuple(heads), samples, step=step)


def _digest(entry: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """The SHA-256 of the tensors and of the metadata as they are written, so that later fields change nothing."""
    return tensors_sha256(tensors, json.dumps(entry, sort_keys=True).encode())
