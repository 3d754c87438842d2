"""Atomic writes: afterwards a file is either complete or unchanged, even after a power cut.

Symbolic links are followed. A device or a pipe cannot be replaced; the content is written to it.
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
    """Open a temporary file that replaces `path` when the block ends without an exception.

    If `path` is a device or a pipe, the content is written to it instead. The temporary file is created with `mode`, so
    that others can never read a secret. Without `mode`, it gets the mode of an existing `path`. Its name is random, so
    several processes may write the same `path` at once; the last one to end wins.

    Raises:
        OSError: the disk is full or not writable. Then `path` is unchanged, and no temporary file is left.
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
    """Append either all of `data` to a file or nothing, so that later data does not follow half a record.

    The file is created if it does not exist. Only after a power cut a part of `data` may be there.

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
    """The path to which the symbolic links at `path` lead; it need not exist.

    Raises:
        OSError: the links form a circle, or this process may not read them.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.stat()  # fails for links in a circle, which would be followed for ever
    while path.is_symlink() and not _is_descriptor(path):
        path = path.parent.resolve() / path.readlink()
    return path


def is_replaceable(path: Path) -> bool:
    """Whether `path`, from `followed`, is a regular file or does not exist: not a device, pipe or open descriptor."""
    return not _is_descriptor(path) and (not path.exists() or path.is_file())


def _is_descriptor(path: Path) -> bool:
    """Whether it is an open file descriptor. Such a /dev/stdout may be a file that other programs write to."""
    folder = path.parent.resolve()
    return folder.name == "fd" and folder.parts[1:2] == ("proc",)


def _opened(path: Path) -> BinaryIO:
    if path.parent.resolve() == Path(f"/proc/{os.getpid()}/fd"):
        return open(os.dup(int(path.name)), "wb")  # keeps its position: opened again, it would begin anew
    return path.open("wb")


@contextmanager
def _replacement(path: Path, mode: int | None) -> Iterator[BinaryIO]:
    """Open a temporary file in the folder of `path` that replaces `path` if the block ends without an exception."""
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
            temporary.replace(path)  # while the lock is held
    except BaseException as error:
        if temporary != path:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and (str(error.filename).endswith(_TEMPORARY) or error.errno in _FULL):
            error.filename = str(path)  # the name that the user knows; the error of a full disk names no file
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
    """Make `path` a symbolic link to `target`; an existing link or file with this name is replaced.

    A program that opens `path` meanwhile gets the target of the old link or of the new one. Only one process may write
    the link.

    Raises:
        OSError: the file system is full, not writable, or has no symbolic links. Then `path` is unchanged.
    """
    temporary = path.with_name(f".{path.name}{_TEMPORARY}")
    temporary.unlink(missing_ok=True)  # left by a writer that was killed
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
        OSError: the disk is full or not writable. Then `path` is unchanged, and no temporary file is left.
    """
    with atomic_file(path, mode) as file:
        for piece in pieces:
            file.write(piece)


def _create(path: Path, mode: int) -> BinaryIO:
    """Create a temporary file beside `path`. It is locked as long as it is open, as a sign that its writer is alive."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_TEMPORARY}")
        file = open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
        _lock(file, wait=True)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # another process removed it before it was locked


def discard_unfinished(path: Path) -> None:
    """Delete all temporary files of `path`, even those that are being written: for a process that ends at once."""
    for unfinished in _temporaries(path.parent, path.name):
        unfinished.unlink(missing_ok=True)


def clear_leftovers(folder: Path, name: str | None = None) -> None:
    """Delete temporary files in `folder` whose writers were killed: those of the file `name`, or of all files."""
    for leftover in _temporaries(folder, name):
        with contextlib.suppress(OSError), open(leftover, "r+b") as file:
            if _lock(file, wait=False):
                leftover.unlink()


def _temporaries(folder: Path, name: str | None) -> Iterator[Path]:
    return folder.glob(f".{'*' if name is None else glob.escape(name)}.*{_TEMPORARY}")


def _lock(file: BinaryIO, *, wait: bool) -> bool:
    """Lock `file` until it is closed; returns False if that fails, also on a system without locks."""
    try:
        lock(file.fileno(), wait=wait)
    except OSError:
        return False
    return True
