"""Atomic writes: a file is complete or unchanged, even after a power cut.

Links are followed. What is no regular file, such as a device or a pipe, cannot be replaced: it is written to.
"""

import contextlib
import errno
import glob
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edgekd.files.locks import lock

_FULL = (errno.ENOSPC, errno.EDQUOT)
_TEMPORARY = ".tmp"


@contextmanager
def atomic_file(path: Path, mode: int | None = None) -> Iterator[BinaryIO]:
    """A temporary file. If the block ends without an exception it replaces `path`, or is written to a device or pipe.

    The file is created with `mode`, so others can never read a secret. Without `mode`, it takes the mode of an existing
    `path`. Its name is random: several processes may write the same `path` at once, and the last one to end wins.

    Raises:
        OSError: the disk is full or not writable. `path` is unchanged, and no temporary file is left.
    """
    file = followed(path)
    if is_replaceable(file):
        with _replacement(file, mode) as replacement:
            yield replacement
    else:
        with tempfile.NamedTemporaryFile() as content:
            yield content  # type: ignore[misc]
            content.seek(0)
            with _opened(file) as destination:
                shutil.copyfileobj(content, destination)


def append_whole(path: Path, data: bytes) -> None:
    """Append all of `data` to a file, which need not be there, or nothing: what comes later is not glued to half of it.

    After a power cut a part of it may be there.

    Raises:
        OSError: the disk is full or not writable.
    """
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab") as file:
            file.write(data)
    except OSError:
        with contextlib.suppress(OSError):
            os.truncate(path, size)
        raise


def followed(path: Path) -> Path:
    """Where the links at `path` lead to, whether there is a file or not.

    Raises:
        OSError: they lead nowhere, or may not be looked at.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.stat()  # else links in a circle would be followed for ever
    while path.is_symlink() and not _is_descriptor(path):
        path = path.parent.resolve() / path.readlink()
    return path


def is_replaceable(path: Path) -> bool:
    """Whether `path`, from `followed`, is a regular file or none; not a device, a pipe or what a process has open."""
    return not _is_descriptor(path) and (not path.exists() or path.is_file())


def _is_descriptor(path: Path) -> bool:
    """Whether it stands for what a process has open. That /dev/stdout may be a file, which others write on."""
    folder = path.parent.resolve()
    return folder.name == "fd" and folder.parts[1:2] == ("proc",)


def _opened(path: Path) -> BinaryIO:
    if path.parent.resolve() == Path(f"/proc/{os.getpid()}/fd"):
        return open(os.dup(int(path.name)), "wb")  # it goes on where it is: opened again it would begin anew
    return path.open("wb")


@contextmanager
def _replacement(path: Path, mode: int | None) -> Iterator[BinaryIO]:
    """A temporary file in the folder of `path`, which it replaces if the block ends without an exception."""
    clear_leftovers(path.parent, path.name)
    temporary = path
    try:
        with _create(path, 0o666 if mode is None else mode) as file:
            temporary = Path(file.name)
            if mode is None and path.exists():
                temporary.chmod(stat.S_IMODE(path.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)  # while its lock is held
    except BaseException as error:
        if temporary != path:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and (str(error.filename).endswith(_TEMPORARY) or error.errno in _FULL):
            error.filename = str(path)  # the name that the user knows; the error of a full disk has none
        raise
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(folder)


def link_atomically(path: Path, target: str) -> None:
    """Make `path` a symbolic link to `target`, in the place of a link or a file of this name.

    Who opens `path` meanwhile gets what the old link or the new one leads to. Only one process may write it.

    Raises:
        OSError: the file system is full, not writable, or has no symbolic links. `path` is unchanged.
    """
    temporary = path.with_name(f".{path.name}{_TEMPORARY}")
    temporary.unlink(missing_ok=True)  # of a writer that was killed
    try:
        temporary.symlink_to(target)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_atomically(path: Path, pieces: Iterable[bytes | memoryview], mode: int | None = None) -> None:
    """Write `pieces` one after another into an `atomic_file`.

    Raises:
        OSError: the disk is full or not writable. `path` is unchanged, and no temporary file is left.
    """
    with atomic_file(path, mode) as file:
        for piece in pieces:
            file.write(piece)


def _create(path: Path, mode: int) -> BinaryIO:
    """A new file beside `path`, locked for as long as it is open: so others see that its writer is alive."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_TEMPORARY}")
        file = open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
        _lock(file, wait=True)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # another process has cleared it away before it was locked


def discard_unfinished(path: Path) -> None:
    """Delete the temporary files of `path`, also those that are still written: for a process that ends at once."""
    for unfinished in _temporaries(path.parent, path.name):
        unfinished.unlink(missing_ok=True)


def clear_leftovers(folder: Path, name: str | None = None) -> None:
    """Delete the temporary files in `folder` of writers that were killed: of the file `name`, or of any file."""
    for leftover in _temporaries(folder, name):
        with contextlib.suppress(OSError), open(leftover, "r+b") as file:
            if _lock(file, wait=False):
                leftover.unlink()


def _temporaries(folder: Path, name: str | None) -> Iterator[Path]:
    return folder.glob(f".{'*' if name is None else glob.escape(name)}.*{_TEMPORARY}")


def _lock(file: BinaryIO, *, wait: bool) -> bool:
    """Whether `file` is locked now, until it is closed; False, too, where there are no locks."""
    try:
        lock(file.fileno(), wait=wait)
    except OSError:
        return False
    return True
