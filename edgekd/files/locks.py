"""A lock between processes: a file that is there while one of them holds it.

The locks of the package filelock are not used. Some of its versions remove the lock file and some do not, and a file
that both filelock and its user remove may be the lock of the next process.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock `path` in this block. The lock file is removed at the end, also one that was there before.

    Args:
        path: the lock file.
        wait: for the process that holds the lock; else that is an error.

    Raises:
        BlockingIOError: another process holds the lock.
        FileNotFoundError: there is no folder for the file.
        OSError: the folder is not writable, or the file system or the system has no locks.
    """
    file = _opened(path, wait=wait)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder may have become read-only
            path.unlink()  # before the lock is free: later, the file may be the lock of the next process
        os.close(file)


def lock(file: int, *, wait: bool) -> None:
    """Lock an open file until it is closed.

    Raises:
        BlockingIOError: it is locked already, and `wait` is False.
        OSError: the file system or the system has no locks.
    """
    try:
        import fcntl
    except ImportError as error:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP)) from error
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _opened(path: Path, *, wait: bool) -> int:
    """The lock file, open and locked."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            lock(file, wait=wait)
            held = os.fstat(file).st_nlink > 0
        except BaseException:
            os.close(file)
            raise
        if held:
            return file
        os.close(file)  # its holder has removed it before it was locked here: it keeps nobody else out
