"""Measures how long the start of a peer takes with thousands of phone photos: with one process, workers, and the cache.

    python benchmarks/decoding.py --pictures cifar10/train --count 2000 --distinct 500

Makes photos of 12 megapixels from real pictures (upscaled, with noise, JPEG of quality 90, about 4 MB each) in a
temporary folder of $TMPDIR. Photos beyond --distinct are hard links to the same files. Each line is a start: its
wall-clock seconds and its processor seconds (of this process and its workers), which are better figures on a shared
machine. All files are read once before, so that no start waits for the disk. All starts give the same pixels.

The last lines show what Pillow's `draft` saves, which decodes large JPEGs at 1/2, 1/4 or 1/8 of their size.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from edgekd.data.decoding import Decoding
from edgekd.data.fitted_cache import FILE
from edgekd.data.fitting import Pixels, fit, fit_file

WIDTH, HEIGHT = 4000, 3000  # pixels
NOISE = 7.5  # standard deviation, of 255

Result = TypeVar("Result")


def write_photos(sources: Sequence[Path], folder: Path, count: int) -> list[Path]:
    """Write `count` photos into `folder`: one made from each source, and hard links to these for the rest."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, NOISE, (HEIGHT, WIDTH, 1)).astype(np.float32)
    photos = []
    for number in range(count):
        photos.append(folder / f"{number:05}.jpg")
        if number >= len(sources):
            os.link(photos[number % len(sources)], photos[-1])
            continue
        with Image.open(sources[number]) as picture:
            large = picture.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        shift = (int(rng.integers(HEIGHT)), int(rng.integers(WIDTH)))
        pixels = np.asarray(large) + np.roll(noise, shift, (0, 1))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(photos[-1], quality=90)
    return photos


def core_seconds() -> float:
    """Processor seconds of this process and of its ended child processes."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def timed(name: str, work: Callable[[], Result]) -> Result:
    """Do `work`, print how long it took, and return its result."""
    cores, began = core_seconds(), time.monotonic()
    result = work()
    seconds, cores = time.monotonic() - began, core_seconds() - cores
    print(f"{name:44} {seconds:8.1f} s {cores:8.1f} s of cores   load {os.getloadavg()[0]:.1f}", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, help="a folder with real pictures, also in subfolders")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--distinct", type=int, default=500)
    parser.add_argument("--size", type=int, default=64)
    given = parser.parse_args()
    import torch  # not at the top: the worker processes import this module and need no torch

    from edgekd.data.images import decode_files

    sources = [file for file in sorted(given.pictures.rglob("*")) if file.is_file()]
    sources = sources[:: max(1, len(sources) // given.distinct)][: given.distinct]
    with tempfile.TemporaryDirectory() as name:
        (folder := Path(name, "photos")).mkdir()
        photos, cache = write_photos(sources, folder, given.count), Path(name, "cache")
        megabytes = sum(photo.stat().st_size for photo in photos[: len(sources)]) / 1e6
        print(f"{len(photos)} photos, {len(sources)} of them distinct, {megabytes / len(sources):.1f} MB each")

        def start(how: Decoding) -> "torch.Tensor":
            return decode_files(photos, given.size, "the photos", how)[0]

        for photo in photos[: len(sources)]:
            photo.read_bytes()
        expected = timed("one process, as before there were workers", partial(start, Decoding()))
        starts = {
            "workers": Decoding(workers=None),
            "workers, and a cache that is empty": Decoding(workers=None, cache=cache),
            "the second start": Decoding(workers=None, cache=cache),
        }
        for line, how in starts.items():
            assert torch.equal(timed(line, partial(start, how)), expected)
        print(f"the cache is {(cache / FILE).stat().st_size / 1e6:.1f} MB")
        few = photos[:50]
        timed(f"{len(few)} photos, one process", lambda: [fit_file(photo, given.size) for photo in few])
        timed(f"{len(few)} photos, without draft", lambda: [fit_whole(photo, given.size) for photo in few])


def fit_whole(photo: Path, size: int) -> Pixels:
    """Decode a photo at its full size, then fit it."""
    with Image.open(photo) as picture:
        return fit(picture, size)


if __name__ == "__main__":
    main()
