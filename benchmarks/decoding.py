"""What a start costs that reads thousands of phone photos: one process, workers, and the cache.

    python benchmarks/decoding.py --pictures cifar10/train --count 2000 --distinct 500

Makes photos of 12 megapixels out of real pictures (upscaled, with noise, JPEG of quality 90, about 4 MB each) in a
temporary folder of $TMPDIR; the rest are further names of the same files. Each line is a start: seconds by the clock,
and seconds of cores (this process and its workers), which tell more where others use the machine, too. Files are read
before, so no line waits for the disk. All starts give the same pixels.

The last line is what Pillow's `draft` saves, by which large JPEGs are decoded at 1/2, 1/4 or 1/8 of their size.
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
    """`count` photos, of each source as many as needed; those beyond the first are hard links."""
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
    """Of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def timed(name: str, work: Callable[[], Result]) -> Result:
    """Do `work`, and print what it took."""
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
    import torch  # here, since the workers import this module, as they import that of the command `edgekd`

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
    """The photo decoded at its whole size."""
    with Image.open(photo) as picture:
        return fit(picture, size)


if __name__ == "__main__":
    main()
