"""Decoding and fitting of many picture files: from the cache, in this process, or in parallel processes.

The way of decoding changes only the time that it takes. Pixels, their order and all messages stay the same.
"""

import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edgekd.data.fitted_cache import FittedCache
from edgekd.data.fitting import Fitted, fit_file, fit_files
from edgekd.errors import ConfigError
from edgekd.files.watching import Watch, unwatched
from edgekd.workers import at_once, workers

log = logging.getLogger("edgekd")

# Starting a worker takes a third of a second, mostly CPU time of one core. So each worker should have more work than
# that: 67 MB of JPEGs, which are twenty photos of 12 megapixels, take 0.6 s. A small picture takes as long as 30 kB of
# a large one.
WORTH = 2**26  # bytes
OVERHEAD = 30_000  # bytes
CHUNK = 2**22  # bytes given to a worker at once
AHEAD = 4  # chunks per worker that are in work or wait to be fetched; the others take no memory yet


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How picture files are decoded."""

    # Number of processes that decode. None: one per core, if there is enough work. 0: this process decodes. A program
    # needs 0 if its main module cannot be imported again, such as a script without `if __name__ == "__main__"`.
    workers: int | None = 0
    watch: Watch = unwatched  # is told how many pictures are done
    watch_bytes: Watch = unwatched  # is told how many bytes of a public file were read
    cache: Path | None = None  # folder in which fitted pictures are kept


IN_PROCESS = Decoding()


def fitted(files: Sequence[Path], size: int, how: Decoding) -> Generator[tuple[int, Fitted], None, None]:
    """Decode and fit files; yields the position of each file in `files`, and its pixels.

    Files in the cache come first, then all others, in their order. Close the generator; otherwise an interrupt leaves
    processes behind.

    Raises:
        ConfigError: a process that decoded only one picture was killed, perhaps because it took too much memory.
    """
    with FittedCache(how.cache, size, files) as cache, how.watch(len(files)) as advance:
        missing = []
        for place, file in enumerate(files):
            if (found := cache.get(file)) is None:
                missing.append(place)
            else:
                yield place, found
                advance(1)
        if how.cache is not None:
            log.info("%d of %d pictures were in the cache %s", len(files) - len(missing), len(files), how.cache)
        with closing(_decoded([files[place] for place in missing], size, how.workers)) as decoded:
            for place, found in zip(missing, decoded, strict=True):
                cache.put(files[place], found)
                yield place, found
                advance(1)


def _decoded(files: Sequence[Path], size: int, number: int | None) -> Generator[Fitted, None, None]:
    """Decode the files in their order."""
    number = _worth(files) if number is None else number
    left = deque(files)
    try:
        if number:
            yield from _side_by_side(left, size, number, CHUNK)
    except OSError as error:
        log.warning("cannot start processes that decode pictures: %s; going on without", error.strerror or error)
    except BrokenProcessPool:
        log.warning("a process that decodes pictures was killed, perhaps for want of memory; going on with one alone")
        try:
            yield from _side_by_side(left, size, 1, 1)
        except BrokenProcessPool:
            raise ConfigError(
                f"decoding {left[0]} has killed the process that did it, perhaps for want of memory: make the picture "
                "smaller, or take it out of the folder"
            ) from None
    while left:
        yield fit_file(left.popleft(), size)


def _side_by_side(left: deque[Path], size: int, number: int, chunk: int) -> Generator[Fitted, None, None]:
    """Decode in `number` processes. What was yielded is removed from `left`."""
    under_way: deque[Future[list[Fitted]]] = deque()
    with workers(number) as pool:
        for part in _chunks(list(left), chunk):
            under_way.append(pool.submit(fit_files, part, size))
            if len(under_way) == AHEAD * number:
                yield from _fetched(under_way.popleft(), left)
        while under_way:
            yield from _fetched(under_way.popleft(), left)


def _fetched(future: Future[list[Fitted]], left: deque[Path]) -> Iterator[Fitted]:
    for found in future.result():
        left.popleft()
        yield found


def _chunks(files: Iterable[Path], least: int) -> Iterator[list[Path]]:
    """Split the files, in their order, into parts with at least `least` work each."""
    part, work = [], 0
    for file in files:
        part.append(file)
        work += _work(file)
        if work >= least:
            yield part
            part, work = [], 0
    if part:
        yield part


def _worth(files: Sequence[Path]) -> int:
    """The number of workers that are worth starting for these files; 0: none."""
    work = sum(map(_work, files))
    if work < 2 * WORTH:
        return 0
    number = min(at_once(1), work // WORTH)
    return number if number > 1 else 0


def _work(file: Path) -> int:
    """The work of decoding a file, in bytes of a large JPEG."""
    try:
        return OVERHEAD + file.stat().st_size
    except OSError:  # it was deleted; decoding it will report the error
        return OVERHEAD
