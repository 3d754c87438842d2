"""Many pictures decoded: the same pixels, order and words, whichever processes do it."""

import hashlib
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from many_pictures import NUMBER, SIZE, SOUND, assert_same, decode, files_in, write_pictures
from PIL import Image
from torchvision.transforms.v2 import functional as F

from edgekd.data import decoding
from edgekd.data.decoding import Decoding, fitted
from edgekd.data.fitting import VERSION, fit, fit_file
from edgekd.data.images import decode_files
from edgekd.errors import ConfigError
from edgekd.workers import at_once

CORES = at_once(1)

pytestmark = pytest.mark.every_core


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    write_pictures(root)
    return root


# -- fitting -----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    size=st.integers(1, 40),
    mode=st.sampled_from(["RGB", "L", "P", "CMYK"]),
)
def test_fitted_pixels_are_those_of_torchvision(width: int, height: int, size: int, mode: str) -> None:
    values = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(values).convert(mode)
    if max(width, height) <= 8 * min(width, height):
        expected = F.pil_to_tensor(F.center_crop(F.resize(image.convert("RGB"), [size]), [size]))
        assert np.array_equal(fit(image, size), expected.permute(1, 2, 0).numpy())
    assert fit(image, size).shape == (size, size, 3)


def test_no_picture_gives_other_pixels_without_a_new_version_of_the_fitting(tmp_path: Path) -> None:
    # If other pixels are meant, raise `fitting.VERSION`, else caches keep the old ones; and write the new digest here.
    ramp = np.add.outer(np.arange(90) * 2, np.arange(120))
    colours = np.stack([ramp, ramp[:, ::-1], 329 - ramp], -1) * 255 // 329
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    pictures = [Image.fromarray(colours.astype(np.uint8)).convert(mode) for mode in ("RGB", "L", "LA")]
    pictures.append(Image.fromarray((ramp * 199).astype(np.uint16)))
    digest = hashlib.sha256()
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png", exif=upside_down)
        found = fit_file(tmp_path / f"{number}.png", 32).pixels
        assert found is not None
        digest.update(found.tobytes())
    assert (VERSION, digest.hexdigest()[:16]) == (1, "6b6e07083ddd3dad")


# -- processes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_pixels_the_order_and_the_words_of_one_process(
    folder: Path, workers: int, caplog, monkeypatch
) -> None:
    alone = decode(folder, Decoding(), caplog)
    assert len(alone[1]) == SOUND
    assert len(alone[2]) == 4  # two pictures, their number, and one remark about the folder
    monkeypatch.setattr(decoding, "CHUNK", 2 * decoding.OVERHEAD)  # two pictures
    assert_same(alone, decode(folder, Decoding(workers=workers), caplog))
    assert multiprocessing.active_children() == []


@contextmanager
def cores(number: int) -> Iterator[None]:
    """This process may use so many cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(before)[:number]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_processes_are_as_many_as_cores_and_as_are_worth_it(folder: Path, tmp_path: Path) -> None:
    few = files_in(folder)
    assert decoding._worth(few) == 0
    large = tmp_path / "large.jpg"
    large.touch()
    os.truncate(large, decoding.WORTH)  # no block of it is on the disk
    assert decoding._worth([large]) == 0
    assert decoding._worth([large] * 2) == (2 if CORES > 1 else 0)
    assert decoding._worth([large] * 1000) == (CORES if CORES > 1 else 0)
    assert decoding._worth([*few, tmp_path / "gone.jpg"]) == 0
    with cores(1):
        assert decoding._worth([large] * 1000) == 0


@pytest.mark.skipif(CORES < 2, reason="needs two cores")
def test_many_pictures_are_decoded_by_processes_and_few_are_not(tmp_path: Path, folder: Path) -> None:
    seen: list[int] = []

    @contextmanager
    def watch(count: int) -> Iterator[Callable[[int], None]]:
        yield lambda number: seen.append(len(multiprocessing.active_children()))

    how = Decoding(workers=None, watch=watch)
    decode_files(files_in(folder), SIZE, "here", how)
    assert set(seen) == {0}
    seen.clear()
    picture = Image.fromarray(np.zeros((32, 32, 3), np.uint8))
    for number in range(4):
        picture.save(tmp_path / f"{number}.jpg")
        os.truncate(tmp_path / f"{number}.jpg", decoding.WORTH)
    decode_files(files_in(tmp_path), SIZE, "here", how)
    assert seen[0] == 2


@contextmanager
def _killing(count: int, times: list[int]) -> Iterator[Callable[[int], None]]:
    """A `Watch` that kills a worker, as a kernel without memory does, after the first pictures."""

    def advance(number: int) -> None:
        victims = multiprocessing.active_children()  # none while the next is being started
        if victims and times and times.pop():
            victims[0].kill()
            victims[0].join()

    yield advance


def test_worker_that_dies_costs_a_line_and_no_picture(folder: Path, caplog, monkeypatch) -> None:
    alone = decode(folder, Decoding(), caplog)
    monkeypatch.setattr(decoding, "CHUNK", 1)
    images, read, said = decode(folder, Decoding(workers=2, watch=lambda count: _killing(count, [1])), caplog)
    line = "a process that decodes pictures was killed, perhaps for want of memory; going on with one alone"
    assert_same(alone, (images, read, [each for each in said if each != line]))
    assert said.count(line) == 1
    assert multiprocessing.active_children() == []


def test_picture_that_kills_even_a_process_of_its_own_is_named(folder: Path, caplog, monkeypatch) -> None:
    monkeypatch.setattr(decoding, "CHUNK", 1)
    how = Decoding(workers=2, watch=lambda count: _killing(count, [1] * NUMBER))
    with pytest.raises(
        ConfigError, match=r"decoding .*\.(jpg|png|webp|gif) has killed the process that did it, .*smaller"
    ):
        decode(folder, how, caplog)
    assert multiprocessing.active_children() == []


def test_where_no_process_can_be_started_this_one_decodes(folder: Path, caplog) -> None:
    alone = decode(folder, Decoding(), caplog)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with closing(fitted(files_in(folder), SIZE, Decoding(workers=2))) as found:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 1, before[1]))
        try:
            places = [place for place, each in found if each.pixels is not None]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert places == alone[1]
    assert "cannot start processes that decode pictures: Too many open files; going on without" in caplog.text


def test_interrupt_leaves_no_process(folder: Path) -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        decode_files(files_in(folder), SIZE, "here", Decoding(workers=2, watch=_interrupting))
    while multiprocessing.active_children():  # until the pool's own thread has noted their ends
        assert time.monotonic() - began < 60
        time.sleep(0.01)


@contextmanager
def _interrupting(count: int) -> Iterator[Callable[[int], None]]:
    def advance(number: int) -> None:
        raise KeyboardInterrupt

    yield advance
