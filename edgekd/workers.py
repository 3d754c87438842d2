"""Processes that work side by side on the cores, and never outlive the one that started them."""

import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

from edgekd.printable import log_plainly


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use now, which may be fewer than the machine has.

    It may use those of its affinity, as many as the quotas of its cgroup and of all above it allow, rounded up.
    """
    from joblib import cpu_count  # knows the affinity, and the quota of a container's outermost cgroup alone

    return max(1, min([int(cpu_count()), *map(math.ceil, _quotas(root))]))


def threads_beside(cores: int) -> int:
    """Threads of a process that is to leave something to other programs: all cores, of more than two but one."""
    return cores if cores <= 2 else cores - 1


def at_once(threads: int) -> int:
    """How many workers of so many threads this process may run side by side, at least one."""
    return max(1, usable_cores() // threads)


def _quotas(root: Path) -> Iterator[float]:
    """The quotas of this process's cgroup, such as that of its service, and of those above it, in cores."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("cpu" if controllers else "")  # of version 1; of version 2
        group = top / path.lstrip("/")
        for each in (group, *group.parents):
            with suppress(OSError, ValueError, ZeroDivisionError):  # no such file, "max", 0
                if controllers:
                    quota, period = (int((each / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
                else:
                    quota, period = map(int, (each / "cpu.max").read_text().split())
                if quota > 0:  # -1: none
                    yield quota / period
            if each == top:
                break


_TRACKER = "ignore:resource_tracker:UserWarning"
_tally: Any = None  # of a worker: what `count` adds to


def make_tally() -> Any:
    """A number that workers and this process share, as ``.get_obj().value``."""
    return _context().Value("q", 0)


def count(number: int) -> None:
    """In a worker: add to the tally of its pool."""
    with _tally.get_lock():
        _tally.value += number


def _context() -> SpawnContext:
    """How processes are started: spawned, since forking a process that has run torch or grpc can hang.

    A random.py or socket.py in the working folder is not theirs to import, nor the resource tracker's, which the first
    shared number starts. Python 3.10 does not know the variable, and looks there.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    # After a process that ended at once, the resource tracker tidies up. What it says of that is of use to nobody.
    warnings = [each for each in os.environ.get("PYTHONWARNINGS", "").split(",") if each not in ("", _TRACKER)]
    os.environ["PYTHONWARNINGS"] = ",".join([*warnings, _TRACKER])
    return multiprocessing.get_context("spawn")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Delay SIGINT, SIGTERM and SIGHUP until the block ends. What is ignored stays ignored, also by a new process."""
    before: dict[int, Any] = {}
    came: list[int] = []
    holding = threading.current_thread() is threading.main_thread()  # Python runs handlers in the main thread alone

    def delay(number: int, frame: Any) -> None:
        if holding:
            came.append(number)
        else:
            before[number](number, frame)

    with ExitStack() as after:  # does all that is left to it, last first, whatever the handlers raise
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if holding else ():
                if callable(handler := signal.getsignal(number)):
                    before[number] = handler
                    signal.signal(number, delay)
            yield
        finally:
            holding = False
            for each, handler in before.items():
                after.callback(signal.signal, each, handler)
            for each in came:
                after.callback(signal.raise_signal, each)


class _Pool(ProcessPoolExecutor):
    """Ctrl-C reaches none of its processes, not even one that is still importing and has not come to `_begin`."""

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        """May start a process, which inherits what is blocked here.

        A new process reads from this one what it is to do. If this one were stopped before it has written all of it,
        the new one would end with an error on the terminal.
        """
        with _undisturbed():
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                return super().submit(*args, **kwargs)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def workers(number: int, tally: Any = None) -> Iterator[ProcessPoolExecutor]:
    """A pool of `number` processes; `tally`: what they count together, of `make_tally`.

    Leaving the block by an exception (Ctrl-C too) ends them at once, whatever they are doing; by its end, once all is
    done. They also end with their parent, however that ends.
    """
    pool = _Pool(number, _context(), _begin, (tally,))
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        # Not the pool's own list: an interrupt may have come before it had noted the one that was just started.
        children = multiprocessing.active_children()
        for child in children:
            child.kill()
        for child in children:
            multiprocessing.connection.wait([child.sentinel])
        raise
    pool.shutdown()


def _begin(tally: Any) -> None:
    global _tally
    _tally = tally
    log_plainly()
    sys.stdout = sys.stderr  # stdout is for the results of the parent, and the user's own code may print
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)  # killed, it could tell nobody
