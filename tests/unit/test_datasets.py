"""Sources, and what each peer gets of them."""

import hashlib
import http.server
import pickle
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10, SUN397

from edgekd.cli import main
from edgekd.config import DataConfig
from edgekd.data import sources
from edgekd.data.datasets import PeerData, load_group, load_peer_data, load_pooled_data, open_common
from edgekd.data.public import PublicSet
from edgekd.data.sources import Labelled, folder, open_source
from edgekd.data.split_files import write_split
from edgekd.errors import ConfigError
from edgekd.files.locks import locked


def same(one: Labelled, other: Labelled) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 small JPEGs of three classes."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog", "emu"):
        (root / name).mkdir()
        for number in range(50):
            pixels = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((40, 30)).save(root / name / f"{number}.jpg")
    return root


def photo_config(photos: Path, **changes: object) -> DataConfig:
    return DataConfig(data=f"folder:{photos}", size=16, gamma=3.0, **changes)


def test_digits_are_the_1797_real_ones() -> None:
    source = open_source("digits")
    assert source.classes == tuple("0123456789")
    assert len(source.labels) == 1797
    one = source.load([0, 1796])
    assert (one.images.shape, one.labels.tolist()) == ((2, 3, 32, 32), source.labels[[0, 1796]].tolist())
    assert one.images.max() > 200
    assert torch.equal(one.images[:, 0], one.images[:, 2])
    known = load_digits()  # of scikit-learn, which is not imported to read its file
    assert (source.pixels == (known.images.astype(int) * 255 + 8) // 16).all()
    assert (source.labels == known.target).all()


def test_folder_classes_are_its_subfolders_and_only_the_pictures_asked_for_are_decoded(photos: Path, tmp_path) -> None:
    shutil.copytree(photos, tmp_path / "copy")
    common = open_common(photo_config(tmp_path / "copy"), 1)
    before = common.labelled(common.split.shards[1])
    names = set((tmp_path / "copy").rglob("*.jpg"))
    files = [path for name in ("cat", "dog", "emu") for path in sorted((tmp_path / "copy" / name).iterdir())]
    kept = {files[index] for index in common.split.shards[1]}
    for path in names - kept:
        path.unlink()
    assert common.source.classes == ("cat", "dog", "emu")
    assert same(common.labelled(common.split.shards[1]), before)


def test_limit_takes_a_seeded_number_of_images(photos: Path) -> None:
    def chosen(limit: int, seed: int) -> np.ndarray:
        parts = open_common(photo_config(photos, limit=limit), seed).split
        return np.sort(np.concatenate([parts.evaluation, parts.public, *parts.shards]))

    assert len(chosen(60, 1)) == 60
    assert np.array_equal(chosen(60, 1), chosen(60, 1))
    assert not np.array_equal(chosen(60, 1), chosen(60, 2))
    assert len(chosen(1000, 1)) == 150


def test_data_seed_decides_the_split_whatever_the_seed(photos: Path) -> None:
    one, two = (load_peer_data(photo_config(photos, data_seed=5), 0, seed) for seed in (1, 2))
    assert same(one.private, two.private)
    assert one.public.sha256 == two.public.sha256
    assert not same(one.private, load_peer_data(photo_config(photos), 0, 1).private)


def test_group_is_its_peers_and_shares_what_is_common(photos: Path) -> None:
    config = photo_config(photos)
    group = load_group(config, 1)
    for id, member in enumerate(group):
        alone = load_peer_data(config, id, 1)
        assert same(member.private, alone.private)
        assert same(member.evaluation, alone.evaluation)
        assert member.public.sha256 == alone.public.sha256
    assert group[0].public is group[2].public
    assert group[0].evaluation is group[2].evaluation
    assert group[0].public.augment == "crop+flip-each"


def test_pooled_data_is_all_shards_together(photos: Path) -> None:
    group, pooled = load_group(photo_config(photos), 1), load_pooled_data(photo_config(photos), 1)
    together = torch.cat([member.private.labels for member in group])
    assert torch.equal(pooled.private.labels, together.sort().values)
    pixels = torch.cat([member.private.images for member in group]).long().sum(dim=(1, 2, 3))
    assert torch.equal(pooled.private.images.long().sum(dim=(1, 2, 3)).sort().values, pixels.sort().values)
    assert same(pooled.evaluation, group[0].evaluation)


def test_written_files_give_the_same_pixels_in_the_same_order(photos: Path, tmp_path: Path) -> None:
    for name, config in (("photos", photo_config(photos)), ("digits", DataConfig(limit=200))):
        out = tmp_path / name
        counts = write_split(config, 1, out)
        for id in range(3):
            common = load_peer_data(config, id, 1)
            private = out / f"client-{id}" / "private"
            own = load_peer_data(
                DataConfig(
                    private=f"folder:{private}", public=str(out / "public.safetensors"), eval=f"folder:{out / 'eval'}"
                ),
                0,
                99,
            )
            assert own.classes == common.classes
            assert same(own.private, common.private)
            assert same(own.evaluation, common.evaluation)
            assert own.public.sha256 == common.public.sha256
            assert torch.equal(own.public.batch(3, 8), common.public.batch(3, 8))
            assert sum(counts[private].values()) == len(common.private.labels)


def test_split_command_writes_the_files_and_refuses_to_overwrite_them(photos: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "shards"
    (out / "client-0" / "lost+found").mkdir(parents=True)  # as a mounted volume is
    (out / ".DS_Store").touch()
    arguments = ["split", "--data", f"folder:{photos}", "--size", "16", "--clients", "2", "--iid", "--out", str(out)]
    main(arguments)
    assert sorted(path.name for path in out.iterdir())[1:] == ["client-0", "client-1", "eval", "public.safetensors"]
    assert f"{out / 'client-1' / 'private'}: 60 images (" in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 1
    assert capsys.readouterr().err == f"edgekd: {out} is not empty: choose another --out, or remove it first\n"


@pytest.fixture
def shards(photos: Path, tmp_path: Path) -> Path:
    write_split(photo_config(photos), 1, tmp_path / "shards")
    return tmp_path / "shards"


def own_config(shards: Path, **changes: object) -> DataConfig:
    private = f"folder:{shards / 'client-0' / 'private'}"
    return DataConfig(private=private, public=str(shards / "public.safetensors"), **changes)


def test_without_eval_a_tenth_of_the_private_images_is_held_out(shards: Path) -> None:
    def load(id: int, seed: int) -> PeerData:
        return load_peer_data(own_config(shards), id, seed)

    whole = load_peer_data(own_config(shards, eval=f"folder:{shards / 'eval'}"), 0, 1).private
    data = load(0, 1)
    assert len(data.evaluation.labels) == len(whole.labels) // 10
    assert len(data.private.labels) + len(data.evaluation.labels) == len(whole.labels)
    assert torch.equal(torch.cat([data.private.labels, data.evaluation.labels]).sort().values, whole.labels)
    assert same(data.evaluation, load(0, 1).evaluation)
    assert not same(data.evaluation, load(0, 2).evaluation)


def test_damaged_pictures_take_no_place_among_those_that_are_kept(shards: Path, caplog) -> None:
    config = own_config(shards, keep=12)
    expected = load_peer_data(config, 0, 1)
    assert expected.unreadable == frozenset()
    root, damaged = shards / "client-0" / "private", set()
    for name in ("cat", "dog", "emu"):
        for number in range(20):
            damaged.add(root / name / f"new{number}.jpg")
            (root / name / f"new{number}.jpg").touch()
    data = load_peer_data(config, 0, 1)
    assert data.unreadable == damaged
    for ours, theirs in ((data.private, expected.private), (data.evaluation, expected.evaluation)):
        assert ours.files == theirs.files
        assert same(ours, theirs)
    assert len(data.private.files) + len(data.evaluation.files) == 12
    assert not any("alike" in line or "none of" in line for line in caplog.messages)
    for path in root.glob("*/*"):
        path.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"none of the \d+ pictures of .* can be read"):
        load_peer_data(config, 0, 1)


def test_private_folder_may_lack_classes_and_labels_still_count_by_the_public_file(shards: Path) -> None:
    for path in (shards / "client-0" / "private" / "cat").iterdir():
        path.unlink()
    data = load_peer_data(own_config(shards), 0, 1)
    assert data.classes == ("cat", "dog", "emu")
    assert set(data.private.labels.tolist()) == {1, 2}


def test_private_class_that_the_public_file_does_not_know_is_refused_and_the_known_are_listed(shards: Path) -> None:
    Image.new("RGB", (8, 8)).save(made(shards / "client-0" / "private" / "yak") / "1.png")
    with pytest.raises(ConfigError, match="subfolder yak, which the public file does not know; known: cat, dog, emu"):
        load_peer_data(own_config(shards), 0, 1)


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def test_private_folder_may_hold_what_systems_leave_in_it(shards: Path, caplog) -> None:
    private = shards / "client-0" / "private"
    before = load_peer_data(own_config(shards), 0, 1)
    for name in ("lost+found", "@eaDir", ".Trash-1000", "__MACOSX", "empty"):
        made(private / name)
    Image.new("RGB", (8, 8)).save(private / "@eaDir" / "thumbnail.png")
    for name in (".DS_Store", "Thumbs.db", "cat/.DS_Store", "cat/Thumbs.db", "cat/desktop.ini"):
        (private / name).write_bytes(b"x")
    after = load_peer_data(own_config(shards), 0, 1)
    assert after.classes == before.classes
    assert same(after.private, before.private)
    assert caplog.messages == [f"no pictures directly in empty of {private}: passed over"]


def test_size_and_augmentation_come_from_the_public_file(shards: Path) -> None:
    assert load_peer_data(own_config(shards, public_augment="crop+flip-each"), 0, 1).private.images.shape[-1] == 16
    with pytest.raises(ConfigError, match="size is 32, but the public file has 16: leave --size out"):
        load_peer_data(own_config(shards, size=32), 0, 1)
    with pytest.raises(ConfigError, match=r"public-augment is crop, but the public file has crop\+flip-each"):
        load_peer_data(own_config(shards, public_augment="crop"), 0, 1)


def test_commands_of_several_peers_want_a_common_data_set(shards: Path) -> None:
    for load in (load_group, load_pooled_data):
        with pytest.raises(ConfigError, match="use --data instead of --private"):
            load(own_config(shards), 1)


def test_one_private_image_is_too_few_to_hold_some_out(shards: Path) -> None:
    files = sorted((shards / "client-0" / "private").rglob("*.png"))
    for path in files[1:]:
        path.unlink()
    with pytest.raises(ConfigError, match="use --eval"):
        load_peer_data(own_config(shards), 0, 1)


def test_id_beyond_the_clients_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"id must be from 0 to clients - 1 = 2, got 3"):
        load_peer_data(DataConfig(), 3, 0)


def test_folders_that_hold_no_classes_are_config_errors(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "one" / "cat").mkdir(parents=True)
    (tmp_path / "one" / "cat" / "x.png").write_bytes(b"x")
    (tmp_path / "halves").mkdir()
    (tmp_path / "halves" / "train").symlink_to(photos)
    for data, said in (
        ("folder:" + str(tmp_path / "gone"), "there is no folder"),
        ("folder:" + str(tmp_path / "empty"), "one subfolder of pictures a class"),
        ("folder:" + str(tmp_path / "halves"), "one subfolder of pictures a class"),
        ("folder:" + str(tmp_path / "one"), "has one class, cat; two or more are needed"),
        ("folder:", "data must be digits, cifar10, sun397 or folder:PATH"),
    ):
        with pytest.raises(ConfigError, match=said):
            open_common(DataConfig(data=data), 0)


def test_unreadable_pictures_are_left_out_with_their_labels(tmp_path: Path, caplog) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bad.png").write_bytes(b"x")
        Image.new("RGB", (8, 8)).save(tmp_path / name / "good.png")
    (tmp_path / "emu").mkdir()
    source = folder(tmp_path, 8)
    assert source.classes == ("cat", "dog")
    loaded = source.load([0, 3, 2])
    assert loaded.labels.tolist() == [1]
    assert loaded.files == (tmp_path / "dog" / "good.png",)
    assert "emu" in caplog.text
    assert "2 of 3 pictures" in caplog.text


def test_class_whose_pictures_are_all_alike_is_warned_of(tmp_path: Path, caplog) -> None:
    for name, step in (("cat", 1), ("dog", 9), ("emu", 0)):
        for number in range(1 if name == "emu" else 3):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (8, 8), (step * number,) * 3).save(tmp_path / name / f"{number}.png")
    folder(tmp_path, 8).load(range(7))
    assert caplog.messages == [f"all 3 pictures of class cat of {tmp_path} are alike: look at some of them"]


def test_each_folder_says_in_one_line_what_is_left_out(tmp_path: Path, caplog) -> None:
    cat = made(tmp_path / "cat")
    picture = Image.new("RGB", (8, 8))
    for suffix in ("jfif", "gif", "avif", "png", "tga", "jp2"):
        picture.save(cat / f"x.{suffix}")
    for name in ("a.heic", "b.heic", "notes", "bad.eps"):
        (cat / name).touch()
    picture.save(made(cat / "more") / "y.png")
    (cat / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    picture.save(tmp_path / "loose.png")
    source = folder(tmp_path, 8)
    assert len(source.load(range(len(source.labels))).labels) == 6
    assert caplog.messages[:2] == [
        f"{cat}: left out 2 file(s) of a kind that is not read (.heic), "
        "1 file(s) of a kind that is not read (.eps), 1 dead link(s), 1 folder(s) in it, which are not searched, "
        "1 file(s) of a kind that is not read (no suffix)",
        f"{tmp_path}: left out 1 file(s) outside of the classes' subfolders",
    ]


def test_public_set_in_memory_is_the_one_on_disk(photos: Path, shards: Path) -> None:
    assert PublicSet.load(shards / "public.safetensors").sha256 == open_common(photo_config(photos), 1).public().sha256


# torchvision's own layouts, from archives on a local server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address at which it is served."""
    (tmp_path / "served").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "served")) as running:
        thread = threading.Thread(target=partial(running.serve_forever, poll_interval=0.02))
        thread.start()
        yield tmp_path / "served", f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKD_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


def pack_cifar10(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """A CIFAR-10 archive of 24 images; returns their pixels, ``[24, 3, 32, 32]``."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 3, 32, 32), dtype=np.uint8)
    inside = folder / CIFAR10.base_folder
    inside.mkdir()
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for number, name in enumerate(names):
        rows = slice(4 * number, 4 * number + 4)
        batch = {"data": pixels[rows].reshape(4, -1), "labels": [(4 * number + i) % 10 for i in range(4)]}
        (inside / name).write_bytes(pickle.dumps(batch))
    (inside / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    with tarfile.open(folder / "cifar.tar.gz", "w:gz") as tar:
        tar.add(inside, CIFAR10.base_folder)
    monkeypatch.setattr(CIFAR10, "url", f"{url}/cifar.tar.gz")
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(folder / "cifar.tar.gz"))
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5(inside / name)] for name in names[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [[names[5], md5(inside / names[5])]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(inside / "batches.meta")})
    return pixels


UNPACKS = pytest.mark.filterwarnings("ignore:Python 3.14 will, by default, filter:DeprecationWarning")  # torchvision's


@UNPACKS
def test_cifar10_is_downloaded_once_and_both_halves_are_used(server, cache: Path, monkeypatch) -> None:
    pixels = pack_cifar10(*server, monkeypatch)
    source = open_source("cifar10")
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/gone")
    again = open_source("cifar10")
    assert source.classes == tuple("abcdefghij")
    assert source.labels.tolist() == [number % 10 for number in range(24)]
    assert torch.equal(source.load(range(24)).images, torch.from_numpy(pixels))
    assert same(again.load([23]), source.load([23]))


@UNPACKS
def test_sun397_is_downloaded_and_read_in_an_order_of_its_own(server, cache: Path, monkeypatch) -> None:
    folder, url = server
    inside = folder / "SUN397"
    names = ["/a/abbey", "/a/apartment_building/outdoor"]
    for shade, name in enumerate(names):
        (inside / name[1:]).mkdir(parents=True)
        for number in (2, 1, 3):
            Image.new("RGB", (30, 20), (100 * shade + number,) * 3).save(
                inside / name[1:] / f"sun_{number}.jpg", quality=100
            )
    (inside / "ClassName.txt").write_text("\n".join(names) + "\n")
    with tarfile.open(folder / "SUN397.tar.gz", "w:gz") as tar:
        tar.add(inside, "SUN397")
    monkeypatch.setattr(SUN397, "_DATASET_URL", f"{url}/SUN397.tar.gz")
    monkeypatch.setattr(SUN397, "_DATASET_MD5", md5(folder / "SUN397.tar.gz"))
    source = open_source("sun397", 16)
    assert source.classes == ("abbey", "apartment_building-outdoor")
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert source.load(range(6)).images[:, 0, 8, 8].tolist() == [1, 2, 3, 101, 102, 103]
    assert open_source("sun397").size == 224


@pytest.mark.parametrize(("name", "kind", "field"), [("cifar10", CIFAR10, "url"), ("sun397", SUN397, "_DATASET_URL")])
def test_failed_download_says_what_to_do(server, cache: Path, monkeypatch, name, kind, field) -> None:
    monkeypatch.setattr(kind, field, f"{server[1]}/missing.tar.gz")
    with pytest.raises(ConfigError, match=f"cannot get {name}: .*404.*put its files into {cache}.*folder:PATH"):
        open_source(name)
    assert not list(cache.rglob(".*.lock"))


def test_only_one_process_at_a_time_downloads_a_data_set(cache: Path) -> None:
    def download(root: Path) -> Path:
        with pytest.raises(BlockingIOError), locked(root / ".scenes.lock", wait=False):
            pass
        return root

    assert sources._torchvision("scenes", download) == cache
    assert sources._torchvision("scenes", download) == cache, "free again"


def test_data_that_cannot_be_had_leaves_no_cache_that_was_not_there(cache: Path) -> None:
    shutil.rmtree(cache, ignore_errors=True)

    def fail(root: Path) -> None:
        raise RuntimeError("no network")

    with pytest.raises(ConfigError, match="cannot get scenes: no network"):
        sources._torchvision("scenes", fail)
    assert not cache.exists()


def test_download_with_another_checksum_is_refused(server, cache: Path, monkeypatch) -> None:
    (server[0] / "SUN397.tar.gz").write_bytes(b"not the archive")
    monkeypatch.setattr(SUN397, "_DATASET_URL", f"{server[1]}/SUN397.tar.gz")
    with pytest.raises(ConfigError, match=r"cannot get sun397: .*corrupted"):
        open_source("sun397")


def test_copies_that_are_trained_on_and_evaluated_on_are_counted(photos: Path, tmp_path: Path, caplog) -> None:
    open_common(photo_config(photos), seed=0)
    assert "copies" not in caplog.text
    shutil.copytree(photos, tmp_path / "twice")
    for file in sorted(photos.glob("*/*.jpg")):
        shutil.copy(file, tmp_path / "twice" / file.parent.name / f"copy-{file.name}")
    common = open_common(photo_config(tmp_path / "twice"), seed=0)
    files = [file.read_bytes() for file in common.source.files]
    trained = {files[index] for shard in common.split.shards for index in shard}
    count = sum(files[index] in trained for index in common.split.evaluation)
    assert count > 0
    (line,) = caplog.messages
    assert f"{count} of {len(common.split.evaluation)} pictures to evaluate on are copies of ones to train on" in line
