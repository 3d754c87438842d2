"""Folders to write into, and plain reasons why a file or folder cannot be used."""

import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path

from edgekd.errors import ConfigError
from edgekd.files.atomic import followed, is_replaceable


def make_folder(path: Path) -> Path:
    """Create the folder `path` with its parents, unless it exists, and check that this process may write into it.

    Raises:
        ConfigError: it cannot be created, is a file, or is read-only. The message gives the reason.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # `mkdir` may raise any of these if this user may not look into a folder
        why = _file_on(path) or error.strerror
        raise ConfigError(f"cannot make the folder {path}: {why}; choose another --out") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write into the folder {path}: it is read-only for this user; choose another --out")
    return path


def existing(path: Path) -> Path:
    """`path` itself if it exists, else the nearest existing folder above it."""
    # os.path, because the functions of pathlib raise an error below a folder that this user may not enter.
    return next((part for part in (path, *path.absolute().parents) if os.path.exists(part)), Path("/"))


def missing_folders(path: Path) -> list[Path]:
    """The folders that `make_folder` would create for `path`, the innermost first."""
    return [folder for folder in (path, *path.parents) if not os.path.exists(folder)]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of these folders that are empty, in this order."""
    for folder in folders:
        with contextlib.suppress(OSError):  # not empty, or never made
            folder.rmdir()


def check_file(path: Path) -> None:
    """Check that `atomic_file` can write the file `path`, and make its folder.

    Raises:
        ConfigError: `path` is a folder, its folder cannot be made or is read-only, or it is a device that this process
            may not write to.
    """
    if os.path.isdir(path):
        raise ConfigError(f"cannot write {path}: it is a folder")
    try:
        file = followed(path.absolute())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    if is_replaceable(file):
        make_folder(file.parent)
    elif not os.access(file, os.W_OK):
        raise ConfigError(f"cannot write {path}: it is read-only for this user")


def in_words(error: OSError) -> str:
    """An error as a plain sentence: without its number, and with the name of the file if that is known."""
    if error.strerror is None:  # an error of edgekd, which already is a sentence
        return str(error)
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space is left on the disk{f' for {name}' if name else ''}: make room, or choose another folder"
    if not name:
        return error.strerror
    if error.errno in (errno.ENOTDIR, errno.EEXIST) and (why := _file_on(Path(name))):
        return f"cannot use {name}: {why}"
    if error.errno == errno.EROFS:
        return f"cannot write {name}: the disk is read-only"
    return f"{name}: {error.strerror}"


def _file_on(path: Path) -> str | None:
    """The part of `path` that is a file and not a folder, as a sentence; None if there is none."""
    # os.path, because the functions of pathlib raise an error below a folder that this user may not enter.
    found = next((part for part in (path, *path.parents) if os.path.exists(part) and not os.path.isdir(part)), None)
    return f"{found} is a file, not a folder" if found else None
