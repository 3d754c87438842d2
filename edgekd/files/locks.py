"""A lock between processes: a file that is there while one of them holds it."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


@contextmanager
def locked(path: Path, timeout: float = -1) -> Iterator[None]:
    """Hold the lock `path` in this block; a lock file that this call has made is removed again.

    Args:
        path: the lock file; its folder exists.
        timeout: seconds to wait for whoever holds it; -1: for ever.

    Raises:
        filelock.Timeout: another process holds the lock.
        OSError, NotImplementedError: the folder is not writable, or the file system has no locks.
    """
    lock, made = FileLock(path), not path.exists()
    lock.acquire(timeout=timeout)
    while not path.exists():  # whoever held it has removed the file: it keeps nobody else out
        lock.release()
        made = True
        lock.acquire(timeout=timeout)
    try:
        yield
    finally:
        if made:
            with contextlib.suppress(OSError):  # some systems remove no file that is open
                path.unlink()
        lock.release()
