"""The public set: its file, its batches, its augmentation."""

import contextlib
import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from edgekd.cli import main
from edgekd.config import DataConfig
from edgekd.data import images
from edgekd.data.public import PublicSet, make_public, public_from_pictures
from edgekd.errors import ConfigError


def numbered(count: int, augment: str = "none", size: int = 8) -> PublicSet:
    """Images of which each has its own number in every pixel."""
    images = torch.arange(1, count + 1, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, 3, size, size).contiguous()
    return make_public(images, ("cat", "dog"), augment)


def noise(count: int, augment: str, size: int = 16) -> PublicSet:
    images = torch.randint(1, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(0))
    return make_public(images.to(torch.uint8), ("cat", "dog"), augment)


@settings(deadline=None, max_examples=30)
@given(rounds=st.integers(1, 6), rows=st.integers(2, 9), spare=st.integers(0, 8), epoch=st.integers(0, 10**12))
def test_an_epoch_shows_no_image_twice_and_all_but_a_remainder(rounds, rows, spare, epoch) -> None:
    count = rounds * rows + min(spare, rows - 1)
    public = numbered(count)
    seen = torch.cat([public.batch(epoch * rounds + place, rows)[:, 0, 0, 0] for place in range(rounds)])
    assert len(seen.unique()) == rounds * rows
    assert set(seen.tolist()) <= set(range(1, count + 1))


def test_order_is_that_of_keyed_blake2_hashes_and_the_same_everywhere() -> None:
    public = numbered(12)
    key = bytes.fromhex(public.sha256)

    def place(index: int) -> bytes:
        return hashlib.blake2b(f"1/{index}".encode(), key=key, digest_size=8).digest()

    expected = sorted(range(12), key=place)[4:8]  # round 4 of 3 rounds an epoch: the second of epoch 1
    assert (public.batch(4, 4)[:, 0, 0, 0] - 1).tolist() == expected
    assert public.sha256 == "411a4d79eac73f249844b36ed7e9d7110c5cefbeb0e982ee0090c928a3e571e8"
    assert expected == [10, 3, 0, 2]


def test_epochs_have_different_orders() -> None:
    public = numbered(64)
    assert not torch.equal(public.batch(0, 64), public.batch(1, 64))


def test_fewer_images_than_rows_is_an_error_that_says_both() -> None:
    with pytest.raises(ConfigError, match="has 5 images, fewer than a public batch of 6"):
        numbered(5).batch(0, 6)


def test_batch_that_is_larger_than_the_set_has_all_its_images() -> None:
    assert [numbered(5).rows(wanted) for wanted in (4, 5, 6)] == [4, 5, 5]
    with pytest.raises(ConfigError, match="has 1 images, fewer than a public batch of 2"):
        numbered(1).rows(6)


@pytest.mark.parametrize("augment", ["crop", "crop+flip", "crop-each", "crop+flip-each"])
def test_a_batch_is_cropped_and_flipped_by_its_round_as_one_or_image_by_image(augment: str) -> None:
    public, plain = noise(24, augment), noise(24, "none")
    assert public.sha256 != plain.sha256
    padded = torch.nn.functional.pad(public.images, [2] * 4)
    places = {}  # of every image, cropped and flipped in every way: which way that was
    for top in range(5):
        for left in range(5):
            for image in padded[..., top : top + 16, left : left + 16]:
                places[image.numpy().tobytes()] = (top, left, False)
                places[image.flip(-1).numpy().tobytes()] = (top, left, True)
    seen = set()
    for round in range(300):
        batch = public.batch(round, 8)
        assert torch.equal(batch, public.batch(round, 8))
        assert batch.is_contiguous()
        ways = {places[image.numpy().tobytes()] for image in batch}
        assert (len(ways) == 1) == (not augment.endswith("-each"))  # of 8 images two at least differ
        seen |= ways
    assert len({way[:2] for way in seen}) == 25
    assert {way[2] for way in seen} == ({False, True} if "flip" in augment else {False})


@pytest.mark.parametrize("augment", ["crop+flip", "crop+flip-each"])
def test_augmenting_never_touches_the_images_themselves(augment: str) -> None:
    public = noise(8, augment)
    before = public.images.clone()
    for round in range(20):
        public.batch(round, 8).zero_()
    assert torch.equal(public.images, before)


def test_whoever_watches_a_load_is_told_of_every_byte(tmp_path: Path) -> None:
    told: list[int] = []
    noise(10, "crop").save(tmp_path / "public.safetensors")

    def watch(whole: int) -> AbstractContextManager[Callable[[int], None]]:
        told.append(-whole)
        return nullcontext(told.append)

    PublicSet.load(tmp_path / "public.safetensors", watch)
    assert told[0] == -10 * 3 * 16 * 16
    assert sum(told) == 0


def test_file_and_memory_have_the_same_hash_and_images(tmp_path: Path) -> None:
    public = noise(10, "crop")
    public.save(tmp_path / "deep" / "public.safetensors")
    loaded = PublicSet.load(tmp_path / "deep" / "public.safetensors")
    assert (loaded.sha256, loaded.classes, loaded.augment) == (public.sha256, public.classes, public.augment)
    assert torch.equal(loaded.images, public.images)
    assert torch.equal(loaded.batch(7, 4), public.batch(7, 4))
    assert hashlib.sha256((tmp_path / "deep" / "public.safetensors").read_bytes()).hexdigest() == public.sha256
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["public.safetensors"]


def test_file_is_plain_safetensors(tmp_path: Path) -> None:
    public = noise(3, "crop")
    public.save(tmp_path / "p.safetensors")
    with safe_open(tmp_path / "p.safetensors", framework="pt") as file:
        assert list(file.keys()) == ["images"]
        assert torch.equal(file.get_tensor("images"), public.images)
        assert file.metadata() == {
            "edgekd": '{"augment": "crop", "classes": ["cat", "dog"], "format": "edgekd-public", "version": 1}'
        }


def test_every_part_of_the_content_is_in_the_hash() -> None:
    images = noise(3, "none").images
    changed = images.clone()
    changed[0, 0, 0, 0] ^= 1
    sets = [
        make_public(images, ("cat", "dog"), "none"),
        make_public(images, ("dog", "cat"), "none"),
        make_public(images, ("cat", "dog"), "crop"),
        make_public(changed, ("cat", "dog"), "none"),
    ]
    assert len({public.sha256 for public in sets}) == 4


@pytest.mark.parametrize("classes", [("cat",), ("cat", "cat"), ("cat", "")])
def test_classes_must_be_two_different_names(classes) -> None:
    with pytest.raises(ConfigError, match="two names or more"):
        make_public(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), classes, "none")


def about(**changes: object) -> dict[str, str]:
    fields = {"format": "edgekd-public", "version": 1, "classes": ["a", "b"], "augment": "none", **changes}
    return {"edgekd": json.dumps(fields)}


GOOD = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("tensors", "metadata", "said"),
    [
        ({"images": GOOD}, None, "has no key 'edgekd'"),
        ({"images": GOOD}, {"edgekd": "{"}, "not a public file"),
        ({"images": GOOD}, {"edgekd": "[]"}, "not a public file"),
        ({"images": GOOD}, about(version=2), "version 2, not edgekd-public version 1"),
        ({"images": GOOD}, about(classes=["a"]), "two names or more"),
        ({"images": GOOD}, about(classes=[1, {}]), "not a public file"),
        ({"images": GOOD}, about(augment="blur"), "augment must be one of"),
        ({"images": GOOD}, about(classes=["a", "b\x1b[2J"]), r"class names must be printable, got b\x1b[2J"),
        ({"images": GOOD}, about(classes=["a", "b\nforged"]), r"class names must be printable, got b\nforged"),
        ({"images": GOOD}, about(augment="crop\x1b[2J\n"), r"got crop\x1b[2J\n"),
        ({"images": GOOD}, about(format="\x1b[2J"), r"format \x1b[2J version"),
        ({"images": GOOD}, {"edgekd": "[" * 100_000}, "not a public file"),
        ({"images": GOOD[:0]}, about(), "images must be uint8"),
        ({"images": GOOD[:, :, :0, :0].contiguous()}, about(), "images must be uint8"),
        ({"images": GOOD.float()}, about(), "images must be uint8"),
        ({"images": GOOD[:, :, :4].contiguous()}, about(), "images must be uint8"),
        ({"weights": GOOD}, about(), "images"),
    ],
)
def test_what_is_no_public_file_is_refused_with_the_reason(tmp_path: Path, tensors, metadata, said) -> None:
    save_file(tensors, tmp_path / "p", metadata=metadata)
    with pytest.raises(ConfigError, match="not a public file") as error:
        PublicSet.load(tmp_path / "p")
    assert said in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


@settings(deadline=None, max_examples=100)
@given(field=st.sampled_from(["format", "version", "classes", "augment", "edgekd"]), value=JSON)
def test_whatever_the_metadata_of_a_public_file_is_it_loads_or_is_refused(tmp_path_factory, field, value) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed"
    save_file(
        {"images": GOOD}, file, metadata={"edgekd": json.dumps(value)} if field == "edgekd" else about(**{field: value})
    )
    with contextlib.suppress(ConfigError):
        assert all(isinstance(name, str) and name.isprintable() for name in PublicSet.load(file).classes)


def test_loaded_images_stay_what_was_hashed_whatever_is_written_into_the_file(tmp_path: Path) -> None:
    public, other, file = noise(10, "crop"), noise(10, "crop"), tmp_path / "p"
    public.save(file)
    loaded = PublicSet.load(file)
    content = b"".join(make_public(255 - other.images, other.classes, other.augment).pieces())
    assert len(content) == file.stat().st_size
    with file.open("r+b") as opened:  # as `cp` does
        opened.write(content)
    assert torch.equal(loaded.images, public.images)
    assert hashlib.sha256(b"".join(loaded.pieces())).hexdigest() == loaded.sha256 == public.sha256


def test_file_that_is_emptied_does_not_end_who_has_loaded_it(tmp_path: Path) -> None:
    noise(2000, "none").save(tmp_path / "p")
    code = (
        "import os, sys; from pathlib import Path; from edgekd.data.public import PublicSet; "
        "public = PublicSet.load(Path('p')); os.truncate('p', 0); print(int(public.images[-1].sum()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 0


def test_public_set_beyond_the_memory_is_copied_into_a_file_of_its_own(tmp_path: Path, monkeypatch) -> None:
    public, room = noise(10, "crop"), tmp_path / "room"
    room.mkdir()
    public.save(tmp_path / "p")
    monkeypatch.setattr(images, "IN_MEMORY", 1000)
    monkeypatch.setenv("TMPDIR", str(room))
    loaded = PublicSet.load(tmp_path / "p")
    with (tmp_path / "p").open("r+b") as file:
        file.write(bytes((tmp_path / "p").stat().st_size))
    assert torch.equal(loaded.images, public.images)
    assert list(room.iterdir()) == []


@pytest.mark.parametrize("change", [b"", b"more", None], ids=["whole", "longer", "shorter"])
def test_file_of_another_length_than_its_header_says_is_refused(tmp_path: Path, change: bytes | None) -> None:
    noise(3, "none").save(tmp_path / "p")
    content = (tmp_path / "p").read_bytes()
    (tmp_path / "p").write_bytes(content[:-1] if change is None else content + change)
    with contextlib.nullcontext() if change == b"" else pytest.raises(ConfigError, match="bytes follow its header"):
        PublicSet.load(tmp_path / "p")


def header(**changes: object) -> bytes:
    entry = {"dtype": "U8", "shape": [2, 3, 8, 8], "data_offsets": [0, 384], **changes}
    text = json.dumps({"__metadata__": about(), "images": entry}).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 2**30) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 1) + b"\xff",
        header(shape=[2**40, 3, 2**20, 2**20], data_offsets=[0, 2**80 * 3]),
        header(shape=[-2, 3, -8, 8]),
        header(shape=[2, 3, 8.0, 8.0]),
        header(shape=None),
        header(data_offsets=[1, 385]),
        header(dtype=None),
        header(dtype=["U8"]),
    ],
)
def test_whatever_the_header_of_a_public_file_is_it_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p").write_bytes(content + bytes(384))
    with pytest.raises(ConfigError, match="is not a public file of edgekd"):
        PublicSet.load(tmp_path / "p")


def test_missing_and_garbage_files_are_config_errors(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"\xff" * 100)
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot read the public file"):
        PublicSet.load(tmp_path / "missing")
    with pytest.raises(ConfigError, match="cannot read the public file"):
        PublicSet.load(tmp_path)
    for name in ("noise", "empty"):
        with pytest.raises(ConfigError, match="is not a public file"):
            PublicSet.load(tmp_path / name)


def picture(path: Path, color: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 12), color).save(path)


def test_public_command_takes_files_and_flat_folders_and_skips_the_unreadable(tmp_path: Path, capsys, caplog) -> None:
    picture(tmp_path / "yard" / "b.png", (0, 0, 255))
    picture(tmp_path / "yard" / "a.png", (0, 255, 0))
    picture(tmp_path / "one.png", (255, 0, 0))
    (tmp_path / "yard" / "c.jpg").write_bytes(b"no picture")
    (tmp_path / "yard" / "notes.txt").write_text("not taken for a picture")
    out = tmp_path / "public.safetensors"
    arguments = [str(tmp_path / "one.png"), str(tmp_path / "yard"), "--classes", "cat, dog", "--size", "8"]
    main(["public", *arguments, "--public-augment", "crop", "-o", str(out)])
    public = PublicSet.load(out)
    assert (public.classes, public.augment) == (("cat", "dog"), "crop")
    assert public.images[:, :, 0, 0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert "c.jpg" in caplog.text
    assert "1 of 4 pictures of the public set could not be read" in caplog.text
    assert public.sha256 in capsys.readouterr().out


def test_public_file_of_pictures_has_the_augmentation_of_pictures_by_default(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "b.png")
    out = tmp_path / "public.safetensors"
    main(["public", str(tmp_path), "--classes", "cat,dog", "--size", "8", "-o", str(out)])
    assert PublicSet.load(out).augment == DataConfig(data="folder:pictures").public_augmentation == "crop+flip-each"


def test_public_pictures_that_are_not_there_are_config_errors(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.png").write_bytes(b"x")
    for paths, said in (
        ([], "no public pictures"),
        ([tmp_path / "gone"], "there is no file or folder"),
        ([tmp_path / "empty"], "no pictures directly in"),
        ([tmp_path / "bad.png"], "none of the 1 pictures"),
    ):
        with pytest.raises(ConfigError, match=said):
            public_from_pictures(paths, ("a", "b"), 8, "none")
