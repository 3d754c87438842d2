"""A lock between processes: a file that exists while one of them holds the lock.

The package filelock is not used. Some of its versions remove the lock file and some do not. If both filelock and its
user remove the file, it may already be the lock of the next process.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock `path` during a block. The lock file is removed at the end, even if it existed before.

    Args:
        path: the lock file.
        wait: True: wait for the process that holds the lock. False: raise an error.

    Raises:
        BlockingIOError: another process holds the lock.
        FileNotFoundError: the folder of the file does not exist.
        OSError: the folder is not writable, or the file system or the operating system has no locks.
    """
    file = _opened(path, wait=wait)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder may have become read-only
            path.unlink()  # before the lock is released: later, the file may be the lock of the next process
        os.close(file)


def lock(file: int, *, wait: bool) -> None:
    """Lock an open file until it is closed.

    Args:
        file: the file descriptor.
        wait: whether to wait if another process has locked it.

    Raises:
        BlockingIOError: it is locked, and `wait` is False.
        OSError: the file system or the operating system has no locks.
    """
    try:
        import fcntl
    except ImportError as error:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP)) from error
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _opened(path: Path, *, wait: bool) -> int:
    """Open and lock the lock file; returns its descriptor."""
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
        os.close(file)  # the holder removed it before it was locked here, so it locks nobody out
