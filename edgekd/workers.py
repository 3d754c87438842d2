"""Worker processes that use the cores in parallel, and never outlive the process that started them."""

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
    """The number of cores that this process may use now; the machine may have more.

    The limits are the process's CPU affinity, and the quotas of its cgroup and of all cgroups above it, rounded up.
    """
    from joblib import cpu_count  # knows the affinity, but of the quotas only that of a container's outermost cgroup

    return max(1, min([int(cpu_count()), *map(math.ceil, _quotas(root))]))


def threads_beside(cores: int) -> int:
    """The number of threads for a process that leaves a core to other programs, if there are more than two cores."""
    return cores if cores <= 2 else cores - 1


def at_once(threads: int) -> int:
    """How many workers with so many threads each this process may run in parallel; at least one."""
    return max(1, usable_cores() // threads)


def _quotas(root: Path) -> Iterator[float]:
    """The CPU quotas, in cores, of this process's cgroup (such as that of its service) and of the cgroups above it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("cpu" if controllers else "")  # of cgroup version 1; else of version 2
        group = top / path.lstrip("/")
        for each in (group, *group.parents):
            with suppress(OSError, ValueError, ZeroDivisionError):  # no such file, "max", 0
                if controllers:
                    quota, period = (int((each / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
                else:
                    quota, period = map(int, (each / "cpu.max").read_text().split())
                if quota > 0:  # -1: no quota
                    yield quota / period
            if each == top:
                break


_TRACKER = "ignore:resource_tracker:UserWarning"
_tally: Any = None  # set in a worker: the shared number that `count` adds to


def make_tally() -> Any:
    """Make an integer that workers and this process share; its value is ``.get_obj().value``."""
    return _context().Value("q", 0)


def count(number: int) -> None:
    """In a worker, add `number` to the tally of its pool."""
    with _tally.get_lock():
        _tally.value += number


def _context() -> SpawnContext:
    """The way to start processes: spawned, since forking a process that has run torch or grpc can hang.

    The variable PYTHONSAFEPATH keeps workers from importing a random.py or socket.py from the working folder. It does
    the same for the resource tracker, a process that the first shared number starts. Python 3.10 does not know this
    variable.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    # After a process that ended at once, the resource tracker cleans up. Its warning about that helps nobody.
    warnings = [each for each in os.environ.get("PYTHONWARNINGS", "").split(",") if each not in ("", _TRACKER)]
    os.environ["PYTHONWARNINGS"] = ",".join([*warnings, _TRACKER])
    return multiprocessing.get_context("spawn")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Delay SIGINT, SIGTERM and SIGHUP until the block ends.

    Signals that are ignored stay ignored, also in a process that is started meanwhile.
    """
    before: dict[int, Any] = {}
    came: list[int] = []
    holding = threading.current_thread() is threading.main_thread()  # Python runs handlers only in the main thread

    def delay(number: int, frame: Any) -> None:
        if holding:
            came.append(number)
        else:
            before[number](number, frame)

    with ExitStack() as after:  # runs all callbacks, last first, whatever the handlers raise
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
    """A pool whose processes Ctrl-C never reaches, not even while one is still importing, before `_begin`."""

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit work; this may start a process, which inherits the signals that are blocked here.

        A new process reads its task from this one. If this process were stopped before it has written all of it, the
        new one would end with an error on the terminal.
        """
        with _undisturbed():
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                return super().submit(*args, **kwargs)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def workers(number: int, tally: Any = None) -> Iterator[ProcessPoolExecutor]:
    """A pool of `number` worker processes for a block.

    If the block ends with an exception, also with Ctrl-C, the workers are killed at once. Otherwise they end when all
    work is done. They also end when their parent process ends, however that happens.

    Args:
        number: how many processes.
        tally: from `make_tally`; the workers add to it with `count`.
    """
    pool = _Pool(number, _context(), _begin, (tally,))
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        # Not the pool's own list: an interrupt may have come before the pool noted a process that was just started.
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)  # the parent is gone, so there is nobody to report to
