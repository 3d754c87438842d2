"""Where the cells of a sweep run: in processes of this machine, or on a Ray cluster."""

import logging
import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekd.errors import ConfigError
from edgekd.lab.sweep.records import Cell
from edgekd.lab.sweep.run import Engine, Failure, Result, run_cell
from edgekd.workers import workers


def local(jobs: int) -> Engine:
    """An engine that uses `jobs` processes of this machine."""

    def engine(cells: Sequence[Cell]) -> Generator[Result, None, None]:
        left = deque(cells)
        while left:
            for suspect in (yield from _run(left, jobs)):
                # One of these cells killed its process. Each gets a second try, alone.
                if (yield from _run(deque([suspect]), 1)):
                    yield Failure(suspect, "its process was killed; out of memory?")

    return engine


def _run(left: deque[Cell], jobs: int) -> Generator[Result, None, list[Cell]]:
    """Run cells from `left` until it is empty or a process dies; returns the cells that were running then."""
    under_way: dict[Future[Result], Cell] = {}
    with workers(jobs) as pool:
        while left or under_way:
            try:
                # Not more than can run at once, so that a cell that has not begun is never suspected.
                while left and len(under_way) < jobs:
                    future = pool.submit(run_cell, left[0])
                    under_way[future] = left.popleft()
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    del under_way[future]
                    yield result
            except BrokenProcessPool:
                return list(under_way.values())
    return []


def ray_cluster() -> Engine:
    """An engine for the Ray cluster that RAY_ADDRESS names or that this machine belongs to.

    If there is none, a cluster of this machine's cores is started. Each cell takes as many CPUs as its learners have
    threads. Its data must have the same path on every node.

    Raises:
        ConfigError: Ray is not installed, or the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError("--engine ray needs Ray: pip install ray") from None
    try:
        with _in_folder_of_edgekd():
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"no Ray cluster can be reached: {error}; start one with `ray start --head`") from error

    def engine(cells: Sequence[Cell]) -> Generator[Result, None, None]:
        task: Any = ray.remote(_run_in)
        try:
            cpus = {cell: cell.config.threads for cell in cells}
            cell_of = {task.options(num_cpus=cpus[cell]).remote(os.getcwd(), cell): cell for cell in cells}
            while cell_of:
                ready = ray.wait(list(cell_of))[0][0]
                cell = cell_of.pop(ready)
                try:
                    yield ray.get(ready)
                except ray.exceptions.RayError as error:
                    yield Failure(cell, str(error).strip().splitlines()[-1])
        finally:
            ray.shutdown()

    return engine


@contextmanager
def _in_folder_of_edgekd() -> Iterator[None]:
    """A block in which the working folder is the folder from which edgekd is imported.

    The workers of Ray import first from the folder in which ``ray.init`` was called. In the user's folder there may be
    a random.py.
    """
    before = os.getcwd()
    os.chdir(Path(__file__).parents[3])
    try:
        yield
    finally:
        os.chdir(before)


def _run_in(folder: str, cell: Cell) -> Result:
    """Run a cell in the folder in which the sweep was started, so that relative paths are valid."""
    if os.path.isdir(folder):
        os.chdir(folder)
    return run_cell(cell)
