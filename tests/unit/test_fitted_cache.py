"""The cache of fitted pictures: cold, warm, changed, damaged, full or shared, it never changes what is decoded."""

import logging
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from disks import small_disk
from hypothesis import given, settings
from hypothesis import strategies as st
from many_pictures import SIZE, SOUND, assert_same, decode, decode_often, files_in, write_pictures
from PIL import Image

from edgekd.data import fitted_cache, fitting
from edgekd.data.decoding import Decoding, fitted
from edgekd.data.fitted_cache import FILE, FittedCache
from edgekd.data.fitting import Fitted, fit_file
from edgekd.data.images import decode_files
from edgekd.workers import workers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures that tests must not change."""
    root = tmp_path_factory.mktemp("pictures")
    write_pictures(root)
    return root


@pytest.fixture(autouse=True)
def _every_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edgekd")


def with_cache(cache: Path, workers: int = 0) -> Decoding:
    return Decoding(workers=workers, cache=cache)


def hits(caplog: pytest.LogCaptureFixture) -> int:
    """How many pictures the last decoding found in the cache."""
    said = [text for text in caplog.messages if "pictures were in the cache" in text]
    assert len(said) == 1
    return int(said[0].split()[0])


def rows(cache: Path) -> set[str]:
    """The names of the pictures that it holds."""
    with closing(sqlite3.connect(cache / FILE)) as db:
        return {os.path.basename(os.fsdecode(name)) for (name,) in db.execute("SELECT file FROM fitted")}


# -- cold and warm -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_cold_and_warm_cache_give_what_is_decoded_without_one(
    folder: Path, tmp_path: Path, workers: int, caplog
) -> None:
    without = decode(folder, Decoding(), caplog)
    for expected in (0, SOUND, SOUND):
        assert_same(without, decode(folder, with_cache(tmp_path / "cache", workers), caplog))
        assert hits(caplog) == expected


def test_warm_cache_is_not_written_to(folder: Path, tmp_path: Path, caplog) -> None:
    decode(folder, with_cache(tmp_path), caplog)
    before = (tmp_path / FILE).stat()
    decode(folder, with_cache(tmp_path), caplog)
    after = (tmp_path / FILE).stat()
    assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
    assert os.listdir(tmp_path) == [FILE]


def test_each_size_and_each_part_of_a_folder_has_its_own_pictures(folder: Path, tmp_path: Path, caplog) -> None:
    decode(folder, with_cache(tmp_path), caplog)
    caplog.clear()
    half = files_in(folder)[::2]
    for expected in (0, 6):
        caplog.clear()
        images, _ = decode_files(half, 24, "here", with_cache(tmp_path))
        assert torch.equal(images, decode_files(half, 24, "here")[0])
        assert hits(caplog) == expected
    decode(folder, with_cache(tmp_path), caplog)
    assert hits(caplog) == SOUND


def test_folder_is_the_same_however_it_is_named(folder: Path, tmp_path: Path, caplog, monkeypatch) -> None:
    decode(folder, with_cache(tmp_path), caplog)
    monkeypatch.chdir(folder.parent)
    decode(Path(folder.name), with_cache(tmp_path), caplog)
    assert hits(caplog) == SOUND


def test_names_that_are_no_text_are_kept_too(tmp_path: Path, caplog) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (20, 20), (1, 2, 3)).save(pictures / os.fsdecode(b"\xff\xfe.png"))
    for expected in (0, 1):
        decode(pictures, with_cache(tmp_path / "cache"), caplog)
        assert hits(caplog) == expected


def test_nobody_else_may_read_the_cache(folder: Path, tmp_path: Path, caplog) -> None:
    before = os.umask(0)
    try:
        decode(folder, with_cache(tmp_path / "cache"), caplog)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "cache" / FILE).stat().st_mode) == 0o600


# -- changes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def changing(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "changing")


def recoloured(file: Path) -> bytes:
    """The file with other pixels and as many bytes."""
    Image.new("RGB", (30, 30), (9, 8, 7)).save(file.with_suffix(".bmp"))
    other = file.with_suffix(".bmp").read_bytes()
    file.with_suffix(".bmp").unlink()
    return other


@pytest.mark.parametrize("mtime", ["new", "old"])
def test_changed_picture_of_the_same_length_is_decoded_again(
    changing: Path, tmp_path: Path, mtime: str, caplog
) -> None:
    file = changing / "04.jpg"
    Image.new("RGB", (30, 30), (200, 8, 7)).save(file, "BMP")
    decode(changing, with_cache(tmp_path / "cache"), caplog)
    before = file.stat()
    Image.new("RGB", (30, 30), (9, 200, 7)).save(file, "BMP")
    seconds = before.st_mtime_ns if mtime == "old" else before.st_mtime_ns + 10**9
    os.utime(file, ns=(seconds, seconds))
    assert file.stat().st_size == before.st_size
    expected = decode(changing, Decoding(), caplog)
    for found in (SOUND - 1, SOUND):
        assert_same(expected, decode(changing, with_cache(tmp_path / "cache"), caplog))
        assert hits(caplog) == found


def test_new_renamed_and_removed_pictures(changing: Path, tmp_path: Path, caplog) -> None:
    cache = tmp_path / "cache"
    decode(changing, with_cache(cache), caplog)
    gone = fit_file(changing / "06.webp", SIZE).pixels
    assert gone is not None
    assert gone.tobytes() in (cache / FILE).read_bytes()
    (changing / "06.webp").unlink()
    (changing / "07.gif").rename(changing / "zz.gif")
    Image.new("RGB", (20, 30), (1, 2, 3)).save(changing / "new.png")
    expected = decode(changing, Decoding(), caplog)
    for found in (SOUND - 2, SOUND):
        assert_same(expected, decode(changing, with_cache(cache), caplog))
        assert hits(caplog) == found
    assert gone.tobytes() not in (cache / FILE).read_bytes()
    assert rows(cache) == {file.name for file in files_in(changing)} - {"03a.jpg", "10a.png"}


def test_picture_that_was_unreadable_is_tried_again(changing: Path, tmp_path: Path, caplog) -> None:
    decode(changing, with_cache(tmp_path / "cache"), caplog)
    shutil.copy(changing / "00.jpg", changing / "03a.jpg")
    expected = decode(changing, Decoding(), caplog)
    assert len(expected[1]) == SOUND + 1
    assert_same(expected, decode(changing, with_cache(tmp_path / "cache"), caplog))


def test_interrupted_start_keeps_what_it_has_decoded(folder: Path, tmp_path: Path, caplog) -> None:
    with closing(fitted(files_in(folder), SIZE, with_cache(tmp_path))) as found:
        for _ in range(6):  # one of them cannot be read
            next(found)
    without = decode(folder, Decoding(), caplog)
    assert_same(without, decode(folder, with_cache(tmp_path), caplog))
    assert hits(caplog) == 5


def test_start_that_an_error_ends_keeps_what_it_has_decoded(folder: Path, tmp_path: Path, caplog) -> None:
    def failing(cache: FittedCache) -> None:
        with cache:
            for file in files_in(folder)[:3]:
                assert cache.get(file) is None
                cache.put(file, fit_file(file, SIZE))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        failing(FittedCache(tmp_path, SIZE, files_in(folder)))
    decode(folder, with_cache(tmp_path), caplog)
    assert hits(caplog) == 3


KILLED = """
import os, signal, sys
from pathlib import Path
from edgekd.data import fitted_cache
from edgekd.data.decoding import Decoding, fitted
setattr(fitted_cache, sys.argv[3], int(sys.argv[4]))
found = fitted(sorted(Path(sys.argv[1]).iterdir()), 16, Decoding(cache=Path(sys.argv[2])))
for _ in range(11):
    next(found)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("limit", "value"), [("BATCH", 3 * SIZE * SIZE * 3), ("EFFORT", 3000)])
def test_start_that_is_killed_keeps_all_but_the_last_batch(
    tmp_path: Path, limit: str, value: int, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(12):
        Image.new("RGB", (20, 20), (number, 2, 3)).save(pictures / f"{number:02}.bmp")  # of 1254 bytes
    command = [sys.executable, "-c", KILLED, pictures, tmp_path / "cache", limit, str(value)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    decode(pictures, with_cache(tmp_path / "cache"), caplog)
    assert hits(caplog) == 9


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warm cache of the folder; not to be changed."""
    root = tmp_path_factory.mktemp("filled")
    decode_files(files_in(folder), SIZE, "here", with_cache(root))
    return root


DAMAGE = st.one_of(
    st.tuples(st.just("flip"), st.floats(0, 1, exclude_max=True), st.integers(1, 255)),
    st.tuples(st.just("cut"), st.floats(0, 1, exclude_max=True), st.just(0)),
    st.tuples(st.just("blank"), st.floats(0, 1, exclude_max=True), st.integers(1, 8000)),
    st.tuples(st.just("add"), st.just(0.0), st.integers(1, 8000)),
)


def damaged(content: bytes, kind: str, place: float, by: int) -> bytes:
    at = int(place * len(content))
    if kind == "flip":
        return content[:at] + bytes([content[at] ^ by]) + content[at + 1 :]
    if kind == "cut":
        return content[:at]
    if kind == "blank":
        return content[:at] + bytes(len(content[at : at + by])) + content[at + by :]
    return content + bytes(by)


@settings(deadline=None, max_examples=100)
@given(damages=st.lists(DAMAGE, min_size=1, max_size=3))
def test_whatever_is_wrong_with_the_file_the_pixels_are_right(
    folder: Path, filled: Path, damages: list[tuple[str, float, int]]
) -> None:
    content = (filled / FILE).read_bytes()
    for damage in damages:
        content = damaged(content, *damage) or b"x"
    expected = decode_files(files_in(folder), SIZE, "here")
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / FILE).write_bytes(content)
        for _ in range(2):
            found = decode_files(files_in(folder), SIZE, "here", with_cache(Path(name)))
            assert torch.equal(found[0], expected[0])
            assert found[1] == expected[1]


def test_names_in_the_file_that_are_no_text_any_more_cost_nothing_but_the_cache(
    folder: Path, filled: Path, tmp_path: Path
) -> None:
    content = (filled / FILE).read_bytes()
    expected = decode_files(files_in(folder), SIZE, "here")
    for at in range(content.index(b"CREATE TABLE") - 20, content.index(b"CREATE TABLE") + 30):
        (tmp_path / FILE).write_bytes(content[:at] + bytes([content[at] ^ 0x80]) + content[at + 1 :])
        assert torch.equal(decode_files(files_in(folder), SIZE, "here", with_cache(tmp_path))[0], expected[0])


def test_picture_that_lost_its_checksum_is_decoded_again(folder: Path, filled: Path, tmp_path: Path, caplog) -> None:
    content = bytearray((filled / FILE).read_bytes())
    for name in ("06.webp", "08.jpg"):
        pixels = fit_file(folder / name, SIZE).pixels
        assert pixels is not None
        content[content.index(pixels.tobytes()) + 10] ^= 1
    (tmp_path / FILE).write_bytes(content)
    without = decode(folder, Decoding(), caplog)
    images, read, said = decode(folder, with_cache(tmp_path), caplog)
    assert hits(caplog) == SOUND - 2
    line = f"pictures in the cache {tmp_path} do not have their checksum: decoded again"
    assert said.count(line) == 1
    assert_same(without, (images, read, [each for each in said if each != line]))
    assert_same(without, decode(folder, with_cache(tmp_path), caplog))
    assert hits(caplog) == SOUND


@pytest.mark.parametrize("kind", ["page", "cut", "no database"])
def test_damaged_cache_is_made_anew_with_a_warning(
    folder: Path, filled: Path, tmp_path: Path, kind: str, caplog
) -> None:
    content = (filled / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(
        {
            "page": content[:4096] + bytes(range(256)) * 16 + content[2 * 4096 :],
            "cut": content[: len(content) // 2],
            "no database": b"hello" * 100,
        }[kind]
    )
    without = decode(folder, Decoding(), caplog)
    images, read, said = decode(folder, with_cache(tmp_path), caplog)
    line = f"the cache {tmp_path} is damaged: it is made anew"
    assert said.count(line) == 1
    assert_same(without, (images, read, [each for each in said if each != line]))
    assert_same(without, decode(folder, with_cache(tmp_path), caplog))
    assert hits(caplog) == SOUND


def test_cache_of_another_version_is_made_anew_with_a_warning(
    folder: Path, filled: Path, tmp_path: Path, caplog, monkeypatch
) -> None:
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    without = decode(folder, Decoding(), caplog)
    monkeypatch.setattr(fitting, "VERSION", fitting.VERSION + 1)
    line = f"the cache {tmp_path} is of another version of edgekd or Pillow: it is made anew"
    images, read, said = decode(folder, with_cache(tmp_path), caplog)
    assert hits(caplog) == 0
    assert said.count(line) == 1
    assert_same(without, (images, read, [each for each in said if each != line]))
    assert_same(without, decode(folder, with_cache(tmp_path), caplog))
    assert hits(caplog) == SOUND


def test_rows_of_a_process_of_another_version_are_no_pictures_of_this_one(
    folder: Path, tmp_path: Path, caplog, monkeypatch
) -> None:
    file, version = files_in(folder)[0], fitting.VERSION
    red, blue = (Fitted(pixels=np.full((SIZE, SIZE, 3), value, np.uint8)) for value in (1, 2))
    with FittedCache(tmp_path, SIZE, [file]) as old:
        assert old.get(file) is None
        monkeypatch.setattr(fitting, "VERSION", version + 1)
        with FittedCache(tmp_path, SIZE, [file]) as new:  # makes it anew
            assert new.get(file) is None
            new.put(file, blue)
        assert old.get(file) is None, "the pixels are those of the new version"
        old.put(file, red)
    with FittedCache(tmp_path, SIZE, [file]) as new:
        assert new.get(file) is None, "the pixels are those of the old version"
    without = decode(folder, Decoding(), caplog)
    for found in (0, SOUND):
        assert_same(without, decode(folder, with_cache(tmp_path), caplog))
        assert hits(caplog) == found


HALF = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")  # pages are written before their transaction ends
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE fitted SET pixels = zeroblob(length(pixels)), stamp = zeroblob(3)")
db.executemany("INSERT INTO fitted VALUES (?, 16, '', '', zeroblob(768), '')", [(b"%d" % i,) for i in range(200)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_half_written_cache_is_what_it_was_before(folder: Path, filled: Path, tmp_path: Path, caplog) -> None:
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    done = subprocess.run([sys.executable, "-c", HALF, tmp_path / FILE])
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / f"{FILE}-journal").stat().st_size > 0
    assert (tmp_path / FILE).read_bytes() != (filled / FILE).read_bytes()
    without = decode(folder, Decoding(), caplog)
    assert_same(without, decode(folder, with_cache(tmp_path), caplog))
    assert hits(caplog) == SOUND


# -- disks and other processes -----------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 kB."""
    with small_disk(tmp_path / "disk", "300k") as folder:
        yield folder


def many(folder: Path, number: int) -> Path:
    """So many small pictures, all different."""
    folder.mkdir()
    for value in range(number):
        Image.new("RGB", (32, 32), (value // 256, value % 256, 7)).save(folder / f"{value:04}.bmp")
    return folder


def test_full_disk_costs_the_cache_and_nothing_else(disk: Path, tmp_path: Path, caplog) -> None:
    pictures = many(tmp_path / "many", 400)
    without = decode(pictures, Decoding(), caplog)
    images, read, said = decode(pictures, with_cache(disk), caplog)
    line = f"cannot use the cache {disk}: database or disk is full; going on without it"
    assert said.count(line) == 1
    assert_same(without, (images, read, [each for each in said if each != line]))
    assert shutil.disk_usage(disk).free > 100_000  # others have room left
    (disk / "somebody-elses").write_bytes(bytes(shutil.disk_usage(disk).free))
    shutil.rmtree(disk / "more", ignore_errors=True)
    assert torch.equal(decode(pictures, with_cache(disk), caplog)[0], without[0])
    assert torch.equal(decode(pictures, with_cache(disk / "more"), caplog)[0], without[0])
    assert "cannot use the cache" in caplog.text


def test_what_is_not_asked_for_gives_way_where_there_is_not_room_for_all(
    tmp_path: Path, folder: Path, caplog, monkeypatch
) -> None:
    monkeypatch.setattr(fitted_cache, "BOUND", 400_000)
    monkeypatch.setattr(fitted_cache, "BATCH", 10_000)
    decode(folder, with_cache(tmp_path / "cache"), caplog)
    pictures = many(tmp_path / "many", 250)  # 192 kB of pixels
    for expected in (0, 250):
        _, read, said = decode(pictures, with_cache(tmp_path / "cache"), caplog)
        assert hits(caplog) == expected
        assert not any("cache" in line for line in said)
    more = many(tmp_path / "more", 600)  # more than there is room for
    for _ in range(3):
        _, read, said = decode(more, with_cache(tmp_path / "cache"), caplog)
        assert len(read) == 600
        assert (tmp_path / "cache" / FILE).stat().st_size <= 400_000
    assert f"cannot use the cache {tmp_path / 'cache'}: database or disk is full; going on without it" in said
    assert hits(caplog) > 200


@pytest.mark.parametrize("kind", ["a file", "below a file", "a folder in its place"])
def test_folder_that_cannot_be_had_costs_the_cache_and_nothing_else(
    folder: Path, tmp_path: Path, kind: str, caplog
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder" / FILE).mkdir(parents=True)
    cache = tmp_path / {"a file": "file", "below a file": "file/cache"}.get(kind, "folder")
    without = decode(folder, Decoding(), caplog)
    images, _, said = decode(folder, with_cache(cache), caplog)
    assert torch.equal(images, without[0])
    assert [line.partition(": ")[0] for line in said if line not in without[2]] == [f"cannot use the cache {cache}"]


def test_cache_that_another_process_keeps_locked_is_not_waited_for_without_end(
    folder: Path, filled: Path, tmp_path: Path, caplog, monkeypatch
) -> None:
    monkeypatch.setattr(fitted_cache, "PATIENCE", 0.05)
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    without = decode(folder, Decoding(), caplog)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        images, _, said = decode(folder, with_cache(tmp_path), caplog)
    assert torch.equal(images, without[0])
    assert f"cannot use the cache {tmp_path}: database is locked; going on without it" in said
    assert_same(without, decode(folder, with_cache(tmp_path), caplog))
    assert hits(caplog) == SOUND


def test_processes_share_a_cache_at_once(folder: Path, tmp_path: Path, caplog) -> None:
    expected = decode_files(files_in(folder), SIZE, "here")[0].numpy().tobytes()
    cache = tmp_path / "cache"
    with workers(3) as pool:
        jobs = [pool.submit(decode_often, folder, cache, 20) for _ in range(3)]
        assert all(pixels == expected for job in jobs for pixels in job.result())
    decode(folder, with_cache(cache), caplog)
    assert hits(caplog) == SOUND
