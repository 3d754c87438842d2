"""Predictions on pictures: fitted as in training, in the order of the files; and pictures that appear in a folder."""

import csv
import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import CLASSES, SIZE, images, network, write_checkpoint
from PIL import Image

import edgekd
from edgekd.cli.answers import as_csv
from edgekd.data.arrivals import SETTLED, TRIES, Arrivals, find_pictures, stamps
from edgekd.data.augment import normalise
from edgekd.data.sources import folder as labelled_folder
from edgekd.errors import ConfigError
from edgekd.use.answers import answers
from edgekd.use.predictor import Predictor, load


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    write_checkpoint(tmp_path / "peer", network())
    return load(tmp_path / "peer", device="cpu")


def save(path: Path, seed: int = 0, size: tuple[int, int] = (50, 40)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = torch.nn.functional.interpolate(images(1, seed).float(), size[::-1]).to(torch.uint8)[0]
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    return path


def test_probabilities_are_those_of_the_pictures_as_training_reads_them(tmp_path: Path, predictor: Predictor) -> None:
    files = [save(tmp_path / "set" / "cat" / f"{i}.png", i, (40 + 9 * i, 50)) for i in range(4)]
    trained_on = labelled_folder(tmp_path / "set", SIZE).load([0, 1, 2, 3]).images
    expected = network()(normalise(trained_on))[0].softmax(dim=1)
    found = predictor.predict(files)
    assert torch.equal(found, expected)
    assert (found.sum(dim=1) - 1).abs().max() < 1e-6
    assert len({tuple(row) for row in found.tolist()}) == 4


def test_a_picture_may_be_a_path_an_image_an_array_or_a_tensor(tmp_path: Path, predictor: Predictor) -> None:
    path = save(tmp_path / "a.png")
    image = Image.open(path)
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    expected = predictor.predict(path)
    for picture in (str(path), image, array, tensor, [path], (p for p in [path]), array[None], tensor[None]):
        found = predictor.predict(picture)
        assert found.shape == (1, len(CLASSES))
        assert torch.equal(found, expected), type(picture)
    assert predictor.predict([path, image, array]).shape == (3, len(CLASSES))
    assert predictor.predict([]).shape == (0, len(CLASSES))


def test_array_that_is_no_picture_is_refused_with_what_it_should_be(predictor: Predictor) -> None:
    for wrong in (np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((3, 8, 8), np.uint8)):
        with pytest.raises(ConfigError, match=r"must be uint8 \[height, width, 3\], got "):
            predictor.predict([wrong])
    with pytest.raises(ConfigError, match=r"must be uint8 \[3, height, width\], got "):
        predictor.predict(torch.zeros(2, 8, 8, 3, dtype=torch.uint8))


def test_file_that_is_no_picture_is_refused_by_its_name(tmp_path: Path, predictor: Predictor) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(ConfigError, match=r"cannot read .*a\.png: not a picture"):
        predictor.predict(tmp_path / "a.png")


def test_many_pictures_are_the_same_in_batches(predictor: Predictor) -> None:
    many = images(3)
    alone = predictor.predict(many)
    predictor.batch = 2
    assert torch.allclose(predictor.predict(many), alone, atol=1e-6)


def test_load_is_public_and_gives_classes_and_model(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    found = edgekd.load(tmp_path, device="cpu")
    assert found.classes == CLASSES
    assert found.model(normalise(images(2))).shape == (2, len(CLASSES))
    with pytest.raises(ConfigError, match="device must be"):
        edgekd.load(tmp_path, device="abacus")


def test_answers_keep_the_order_and_name_the_unreadable_in_place(tmp_path: Path, predictor: Predictor) -> None:
    (tmp_path / "b.png").write_text("no picture")
    files = [save(tmp_path / "a.png", 1), tmp_path / "b.png", save(tmp_path / "c.png", 2)]
    predictor.batch = 2
    found = list(answers(predictor, files, top=2))
    assert [answer.file for answer in found] == [str(file) for file in files]
    assert found[1].to_mapping() == {"file": str(files[1]), "error": found[1].error}
    assert str(found[1].error).startswith("not a picture")
    for answer, file in ((found[0], files[0]), (found[2], files[2])):
        row = predictor.predict(file)[0]
        best = row.argsort(descending=True)[:2].tolist()
        assert [name for name, _ in answer.classes] == [CLASSES[i] for i in best]
        listed = answer.to_mapping()["classes"]
        assert [each["probability"] for each in listed] == pytest.approx(row[best].tolist(), abs=1e-6)
    assert len(next(answers(predictor, files[:1], top=9)).classes) == len(CLASSES)


def test_csv_has_a_row_a_picture_whatever_is_in_its_name(tmp_path: Path, predictor: Predictor) -> None:
    odd = tmp_path / 'a,"b".png'
    (tmp_path / "no.png").write_text("no picture")
    found = list(answers(predictor, [save(odd), tmp_path / "no.png"], top=2))
    rows = list(csv.DictReader(io.StringIO(as_csv(found).decode())))
    assert [row["file"] for row in rows] == [str(odd), str(tmp_path / "no.png")]
    assert rows[0]["class_1"] == found[0].classes[0][0]
    assert float(rows[0]["probability_2"]) == pytest.approx(found[0].classes[1][1], abs=1e-6)
    assert rows[1]["class_1"] == ""
    assert rows[1]["error"].startswith("not a picture")


def test_arguments_are_files_folders_and_patterns_and_each_picture_comes_once(tmp_path: Path) -> None:
    names = ["b.png", "a.jpg", "deep/er/c.webp", ".hidden.png", "@eaDir/d.png", "notes.txt", "[e].png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "deep" / "round").symlink_to(tmp_path)
    found = find_pictures([str(tmp_path)])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["[e].png", "a.jpg", "b.png", "deep/er/c.webp"]
    assert find_pictures([f"{tmp_path}/*.jpg", f"{tmp_path}/a.jpg"]) == [tmp_path / "a.jpg"]
    assert find_pictures([f"{tmp_path}/**/*.webp"]) == [tmp_path / "deep" / "er" / "c.webp"]
    assert find_pictures([f"{tmp_path}/[e].png"]) == [tmp_path / "[e].png"]
    assert find_pictures([f"{tmp_path}/notes.txt"]) == [tmp_path / "notes.txt"], "it was named; reading it will tell"
    for nowhere in ("none.png", "*.bmp"):
        assert find_pictures([f"{tmp_path}/{nowhere}"]) == [tmp_path / nowhere], "reading it will tell, too"


def test_folder_without_pictures_is_warned_of_and_an_error_if_that_is_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"")
    assert find_pictures([f"{tmp_path}/empty", f"{tmp_path}/a.jpg"]) == [tmp_path / "a.jpg"]
    assert caplog.messages == [f"there are no pictures in {tmp_path}/empty"]
    with pytest.raises(ConfigError, match="there are no pictures in"):
        find_pictures([f"{tmp_path}/empty"])


A, B = Path("a.jpg"), Path("b.jpg")


def test_picture_is_due_once_it_has_been_the_same_in_two_scans() -> None:
    arrivals = Arrivals({B: (9, 1)})
    assert arrivals.look({B: (9, 1), A: (100, 5)}) == []
    assert arrivals.look({B: (9, 1), A: (200, 6)}) == [], "it has grown"
    assert arrivals.look({B: (9, 1), A: (200, 7)}) == [], "it has been written to, where its last size was reserved"
    assert arrivals.look({B: (9, 1), A: (200, 7)}) == [(A, False)]
    arrivals.done(A)
    assert arrivals.look({B: (9, 1), A: (200, 7)}) == []


def test_picture_that_is_written_over_is_due_again() -> None:
    arrivals = Arrivals({A: (9, 1)})
    assert arrivals.look({A: (9, 2)}) == []
    assert arrivals.look({A: (9, 2)}) == [(A, False)]


def test_picture_that_cannot_be_read_comes_again_until_patience_ends_and_anew_if_it_changes() -> None:
    arrivals = Arrivals({})
    due = [arrivals.look({A: (9, 1)}) for _ in range(SETTLED + TRIES + 5)]
    calls = [each for one in due for each in one]
    assert calls == [(A, False)] * TRIES + [(A, True)]
    assert arrivals.look({A: (12, 2)}) == []
    assert arrivals.look({A: (12, 2)}) == [(A, False)]


def test_pictures_come_in_the_order_of_their_times() -> None:
    arrivals = Arrivals({})
    there = {A: (1, 50), B: (1, 40)}
    arrivals.look(there)
    assert [path for path, _ in arrivals.look(there)] == [B, A]


def test_folder_that_was_gone_for_a_while_is_not_new_and_a_picture_that_was_is() -> None:
    arrivals = Arrivals({A: (9, 1), B: (9, 1)})
    assert arrivals.look({}) == []
    assert [arrivals.look({A: (9, 1), B: (9, 1)}) for _ in range(3)] == [[], [], []]
    arrivals.look({A: (9, 1)})
    arrivals.look({A: (9, 1), B: (9, 1)})
    assert arrivals.look({A: (9, 1), B: (9, 1)}) == [(B, False)]


def test_stamps_change_with_content_and_time(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    before = stamps(tmp_path)
    os.utime(path, ns=(1, 1))
    assert stamps(tmp_path) == {path: (path.stat().st_size, 1)}
    assert stamps(tmp_path) != before
