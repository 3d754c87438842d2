"""Atomic writes: a file is complete or unchanged, even after a power cut."""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic_file(path: Path, mode: int | None = None) -> Iterator[BinaryIO]:
    """A temporary file in the same folder. It replaces `path` if the block ends without an exception.

    The file is created with `mode`, so others can never read a secret. Without `mode`, it takes the mode of an existing
    `path`.

    Raises:
        OSError: the disk is full or not writable. `path` is unchanged, and no temporary file is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if mode is not None:
            temporary.unlink(missing_ok=True)  # a killed process may have left one with another mode
        with open(
            temporary, "wb", opener=lambda name, flags: os.open(name, flags, 0o666 if mode is None else mode)
        ) as file:
            if mode is None and path.exists():
                temporary.chmod(stat.S_IMODE(path.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):  # on a read-only disk this fails, too
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and (error.filename == str(temporary) or error.errno in _FULL):
            error.filename = str(path)  # the name that the user knows; the error of a full disk has none
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(folder)


def write_atomically(path: Path, pieces: Iterable[bytes | memoryview], mode: int | None = None) -> None:
    """Write `pieces` one after another into an `atomic_file`.

    Raises:
        OSError: the disk is full or not writable. `path` is unchanged, and no temporary file is left.
    """
    with atomic_file(path, mode) as file:
        for piece in pieces:
            file.write(piece)
