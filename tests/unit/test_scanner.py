"""The thread that reads a folder: real files that are written, moved and damaged while it looks."""

import io
import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgekd.config import DataConfig
from edgekd.data import images
from edgekd.data.datasets import PeerData, load_peer_data
from edgekd.data.held_out import own_seed, pixel_digests
from edgekd.data.public import make_public
from edgekd.data.taking_up import in_memory
from peer.node import scanner as scanner_module
from peer.node.scanner import Scanner, first_look

CLASSES = ("cat", "dog", "emu")
DEADLINE = 60.0  # seconds
SIZE = 16
KINDS = ("png", "jpeg", "webp", "bmp", "tiff", "gif")


def encoded(number: int, kind: str = "png") -> bytes:
    """A picture file of its own for each number."""
    noise = np.random.default_rng(number).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with 20 cats."""
    for number in range(20):
        write(tmp_path / "own" / "cat" / f"{number:02}.png", encoded(number))
    return tmp_path / "own"


@pytest.fixture
def config(own: Path) -> DataConfig:
    """Settings of a peer that scans this folder twenty times a second."""
    file = own.parent / "public.safetensors"
    make_public(torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8), CLASSES, "none").save(file)
    return DataConfig(private=f"folder:{own}", public=str(file), rescan=0.05)


@contextmanager
def scanned(config: DataConfig, caplog: pytest.LogCaptureFixture) -> Iterator[Scanner]:
    there = first_look(config)
    scanner = Scanner(load_peer_data(config, 0, 1), config, there, own_seed(1, 0))
    with caplog.at_level(logging.INFO, logger="edgekd"), scanner:
        yield scanner


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline, "nothing of the kind"
        time.sleep(0.01)


def names(data: PeerData) -> set[str]:
    """CLASS/NAME of all pictures in memory."""
    return {f"{file.parent.name}/{file.name}" for file in in_memory(data, own_evaluation=True)}


def said(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in message for message in list(caplog.messages))


def told(caplog: pytest.LogCaptureFixture, what: str) -> int:
    """How many pictures the lines tell of, such as ``moved``."""
    return sum(int(number) for message in list(caplog.messages) for number in re.findall(rf"(\d+) {what}", message))


def assert_as_a_start_reads_it(config: DataConfig, data: PeerData, run: Path) -> None:
    assert data.held_out is not None
    run.mkdir()
    data.held_out.save(run)
    fresh = load_peer_data(config, 0, 1, run)
    for ours, theirs in ((data.private, fresh.private), (data.evaluation, fresh.evaluation)):
        assert ours.files == theirs.files
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)


def test_thousand_pictures_that_come_in_pieces_are_all_taken_up_whole_and_each_on_one_side(
    config: DataConfig, own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kinds = {number: KINDS[number % len(KINDS)] for number in range(1000)}
    contents = {number: encoded(1000 + number, kind) for number, kind in kinds.items()}
    paths = {number: own / CLASSES[number % 3] / f"n{number}.{kind}" for number, kind in kinds.items()}
    for name in CLASSES:
        (own / name).mkdir(exist_ok=True)
    trained: set[str] = set()
    evaluated: set[str] = set()
    over = threading.Event()

    def watch(scanner: Scanner) -> None:
        """Note all that is ever trained and evaluated on."""
        data = None
        while not over.is_set():
            if scanner.data is not data:
                data = scanner.data
                trained.update(pixel_digests(data.private.images))
                evaluated.update(pixel_digests(data.evaluation.images))
            time.sleep(0.005)

    with scanned(replace(config, rescan=0.1), caplog) as scanner:
        watcher = threading.Thread(target=watch, args=(scanner,))
        watcher.start()
        for start in range(0, 1000, 100):
            for part in range(4):
                for number in range(start, start + 100):
                    content = contents[number]
                    with paths[number].open("ab") as file:
                        file.write(content[part * len(content) // 4 : (part + 1) * len(content) // 4])
                if start % 300 == 0:
                    time.sleep(0.3)  # some looks: these pictures lie there half, and look settled
        until(lambda: len(names(scanner.data)) == 1020)
        until(lambda: len(trained | evaluated) == 1020)
    over.set()
    watcher.join()
    assert not trained & evaluated
    assert 20 < len(evaluated) < 300
    assert said(caplog, "cannot read") == 0
    data = scanner.data
    assert {*pixel_digests(torch.cat([data.private.images, data.evaluation.images]))} == trained | evaluated
    assert_as_a_start_reads_it(config, data, tmp_path / "run")


def test_removed_relabelled_and_changed_pictures_are_followed_and_told_of(
    config: DataConfig, own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with scanned(config, caplog) as scanner:
        (own / "cat" / "00.png").unlink()
        (own / "cat" / "01.png").unlink()
        (own / "dog").mkdir()
        (own / "cat" / "02.png").rename(own / "dog" / "02.png")
        left = {f"cat/{number:02}.png" for number in range(3, 20)}
        until(lambda: names(scanner.data) == left | {"dog/02.png"})
        # A look that finds a picture at both places, as it is moved, tells of one new and one removed.
        until(lambda: told(caplog, "removed") + told(caplog, "moved") == 3)
        assert told(caplog, "new picture") + told(caplog, "moved") == 1
        write(own / "cat" / "05.png", encoded(500))
        until(lambda: said(caplog, "own: 1 changed; now "))
    assert_as_a_start_reads_it(config, scanner.data, tmp_path / "run")


def test_unknown_class_is_named_once_and_left_out(
    config: DataConfig, own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with scanned(config, caplog) as scanner:
        write(own / "yak" / "1.png", encoded(700))
        until(lambda: said(caplog, "has a subfolder yak, which the public file does not know; known: cat, dog, emu"))
        write(own / "emu" / "1.png", encoded(701))
        write(own / "yak" / "2.png", encoded(702))
        until(lambda: "emu/1.png" in names(scanner.data))
    assert said(caplog, "yak") == 1
    assert not any(name.startswith("yak") for name in names(scanner.data))


def test_damaged_pictures_are_named_and_counted_after_some_looks_and_taken_up_once_they_are_sound(
    config: DataConfig, own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with scanned(config, caplog) as scanner:
        write(own / "cat" / "half.png", encoded(700)[:100])
        write(own / "cat" / "no.jpg", b"no picture")
        write(own / "cat" / "03.png", b"it was one")
        until(lambda: said(caplog, "3 could not be read"))
        for name in ("half.png", "no.jpg", "03.png"):
            assert said(caplog, f"cannot read {own}/cat/{name}: ") == 1
        assert names(scanner.data) == {f"cat/{number:02}.png" for number in range(20) if number != 3}
        write(own / "cat" / "half.png", encoded(700))
        until(lambda: "cat/half.png" in names(scanner.data))


def test_folder_that_vanishes_is_told_of_once_and_so_is_its_return(
    config: DataConfig, own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with scanned(config, caplog) as scanner:
        before = scanner.data
        own.rename(own.parent / "away")
        until(lambda: said(caplog, f"{own}: No such file or directory; training goes on with the pictures in memory"))
        own.mkdir()  # the mount point
        until(lambda: said(caplog, f"{own}: there are no pictures in it; training goes on"))
        time.sleep(0.5)  # ten looks, which say and change nothing
        own.rmdir()
        (own.parent / "away").rename(own)
        write(own / "dog" / "1.png", encoded(800))
        assert scanner.data is before
        until(lambda: "dog/1.png" in names(scanner.data))
        assert len(names(scanner.data)) == 21
    assert said(caplog, "training goes on") <= 3  # it may vanish a second time between rmdir and rename
    assert said(caplog, "removed") == 0
    assert said(caplog, f"{own} is read as before") >= 1


def test_class_folder_on_a_disk_that_is_unmounted_keeps_its_pictures(
    config: DataConfig, own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        write(tmp_path / "disk" / f"{number}.png", encoded(900 + number))
    (own / "dog").symlink_to(tmp_path / "disk")
    with scanned(config, caplog) as scanner:
        before = scanner.data
        (tmp_path / "disk").rename(tmp_path / "unplugged")
        until(lambda: said(caplog, f"{own}/dog: No such file or directory"))
        write(own / "cat" / "new.png", encoded(800))
        until(lambda: "cat/new.png" in names(scanner.data))
        assert names(scanner.data) == names(before) | {"cat/new.png"}
        (tmp_path / "unplugged").rename(tmp_path / "disk")
        until(lambda: said(caplog, f"{own}/dog is read as before"))
    assert said(caplog, f"{own}/dog: ") == 1


def test_bound_keeps_the_newest_of_every_class(
    config: DataConfig, own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(own, tmp_path / "eval")  # else the last picture to evaluate on might stay beyond the bound
    config = replace(config, keep=12, eval=f"folder:{tmp_path}/eval")

    def kept(name: str = "") -> int:
        return sum(file.parent.name.endswith(name) for file in scanner.data.private.files)

    with scanned(config, caplog) as scanner:
        assert kept() == 12
        for number in range(10):
            write(own / "dog" / f"{number}.png", encoded(900 + number))
            assert kept() <= 12
        until(lambda: (kept("cat"), kept("dog")) == (6, 6))
        assert said(caplog, "dropped for newer ones")
    assert_as_a_start_reads_it(config, scanner.data, tmp_path / "run")


def test_damaged_pictures_push_out_no_sound_ones(
    config: DataConfig, own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(own, tmp_path / "eval")
    for number in range(10):
        write(own / "dog" / f"{number}.png", encoded(900 + number))
    config = replace(config, keep=12, eval=f"folder:{tmp_path}/eval")
    with scanned(config, caplog) as scanner:
        before = scanner.data
        for number in range(20):
            write(own / "cat" / f"z{number}.jpg", b"")
        until(lambda: told(caplog, "could not be read") == 20)
        assert scanner.data is before
        newest = own / "cat" / "z.png"
        write(newest, encoded(990))
        until(lambda: newest in scanner.data.private.files)
        newest.unlink()
        until(lambda: scanner.data.private.files == before.private.files)
    assert told(caplog, "dropped for newer ones") == 1
    assert_as_a_start_reads_it(config, scanner.data, tmp_path / "run")


def test_pictures_of_eval_stay_as_they_are(config: DataConfig, own: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(own, own.parent / "eval")
    with scanned(replace(config, eval=f"folder:{own.parent}/eval"), caplog) as scanner:
        before = scanner.data
        for number in range(30):
            write(own / "dog" / f"{number}.png", encoded(900 + number))
        until(lambda: len(scanner.data.private.labels) == 50)
        assert scanner.data.evaluation is before.evaluation


def test_full_memory_is_told_of_and_training_goes_on(
    config: DataConfig, own: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **more: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    with scanned(config, caplog) as scanner:
        before = scanner.data
        monkeypatch.setattr(scanner_module, "take_up", full)
        write(own / "dog" / "1.png", encoded(900))
        until(lambda: said(caplog, "not enough memory for its pictures, which --keep would bound; training goes on"))
        assert scanner.data is before
        monkeypatch.undo()
        until(lambda: "dog/1.png" in names(scanner.data))


def test_pictures_that_do_not_fit_into_the_memory_are_warned_of_once_with_the_bound_that_would_fit(
    config: DataConfig, own: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (scanner_module, images):
        monkeypatch.setattr(module, "IN_MEMORY", 25 * 3 * SIZE**2)
    with scanned(config, caplog) as scanner:
        for number in range(20):
            write(own / "dog" / f"{number}.png", encoded(900 + number))
        until(lambda: len(names(scanner.data)) == 40)
        until(lambda: said(caplog, "written anew when some come or go; --keep 25 would prevent that"))
        write(own / "dog" / "20.png", encoded(990))
        until(lambda: len(names(scanner.data)) == 41)
    assert said(caplog, "written anew") == 1
    assert_as_a_start_reads_it(config, scanner.data, own.parent / "run")


def test_bug_in_the_thread_is_raised_in_the_training_thread(
    config: DataConfig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*arguments: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(scanner_module, "look_through", bug)
    scanner = Scanner(load_peer_data(config, 0, 1), config, {}, own_seed(1, 0))
    with scanner, pytest.raises(KeyError, match="a bug"):
        until(lambda: scanner.data is None)
