"""Going on in a folder: what was held out stays held out, and what does not fit changes no byte there."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from edgekd.config import read_toml

SMALL = ["--model", "mobilenet_v3_small", "--batch", 8, "--public-batch", 8, "--weights", "none", "--eval-every", 0]


def picture(path: Path, seed: int, mean: int) -> None:
    """Noise around a grey value: easy to tell from pictures of another mean, and all of them different."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = torch.randint(-30, 30, (16, 16, 3), generator=torch.Generator().manual_seed(seed))
    Image.fromarray((noise + mean).to(torch.uint8).numpy()).save(path)


@pytest.fixture
def box(spawn: Any, tmp_path: Path) -> Path:
    """A folder of 40 private pictures of two classes, and a public file."""
    for number in range(20):
        picture(tmp_path / "own" / "dark" / f"{number:02}.png", number, 60)
        picture(tmp_path / "own" / "light" / f"{number:02}.png", 100 + number, 180)
        picture(tmp_path / "shared" / f"{number:02}.png", 200 + number, 60 + 6 * number)
    made = spawn(
        "public", tmp_path / "shared", "--classes", "dark,light", "--size", 32, "-o", tmp_path / "public.safetensors"
    )
    assert made.wait() == 0, made.err
    return tmp_path


def peer(box: Path, *more: object) -> list[object]:
    files = ["--private", f"folder:{box}/own", "--public", box / "public.safetensors"]
    return ["peer", "--id", 0, *files, *SMALL, "--steps", 3, "--out", box / "run", *more]


def held_out(box: Path) -> set[str]:
    return set(json.loads((box / "run" / "held-out.json").read_text())["held_out"])


def contents(folder: Path) -> dict[str, str]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def evaluated(spawn: Any, box: Path, *more: object) -> dict[str, Any]:
    found = spawn("eval", "--checkpoint", box / "run", "--json", *more)
    assert found.wait() == 0, found.err
    result: dict[str, Any] = json.loads("\n".join(found.out))
    return result


def test_pictures_that_come_later_make_no_trained_one_an_evaluation_picture(spawn: Any, box: Path) -> None:
    assert spawn(*peer(box)).wait() == 0
    before, held = evaluated(spawn, box), held_out(box)
    assert len(held) == before["evaluation_samples"] == 4
    picture(box / "own" / "dark" / "-first.png", 999, 60)  # sorts first: by position, another tenth would be held out
    shutil.copy(box / "own" / "light" / "03.png", box / "own" / "light" / "-twice.png")
    (box / "own" / "dark" / "07.png").rename(box / "own" / "dark" / "zz.png")
    again = evaluated(spawn, box)
    assert held_out(box) == held, "eval writes nothing"
    assert again["evaluation_samples"] - 4 in (0, 1, 2)  # the new one, and the copy if the picture is held out
    assert spawn(*peer(box, "--resume", "--steps", 5)).wait() == 0
    assert held_out(box) >= held
    assert len(held_out(box)) <= len(held) + 1


@pytest.mark.parametrize(
    ("more", "names"),
    [
        (["--seed", 5], "seed was 0, now 5; data_seed was 0, now 5"),
        (["--temperature", 3], "temperature was 2.0, now 3.0"),
        (["--model", "resnet18"], "the checkpoint's model is mobilenet_v3_small, this peer's is resnet18"),
    ],
)
def test_settings_that_do_not_fit_are_named_and_every_byte_stays(
    spawn: Any, box: Path, more: list[object], names: str
) -> None:
    assert spawn(*peer(box)).wait() == 0
    with (box / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9}\n')  # a resume that succeeds drops it
    before = contents(box / "run")
    again = spawn(*peer(box, "--resume", *more))
    assert again.wait() == 1
    assert names in again.err[-1]
    assert contents(box / "run") == before


def test_other_shards_of_a_common_data_set_are_refused(spawn: Any, tmp_path: Path) -> None:
    run = ["peer", "--id", 0, "--data", "digits", "--limit", 200, *SMALL, "--steps", 2, "--out", tmp_path / "run"]
    assert spawn(*run).wait() == 0
    before = contents(tmp_path / "run")
    again = spawn(*run, "--resume", "--limit", 300, "--clients", 4, "--gamma", 2)
    assert again.wait() == 1
    for name in ("limit was 200, now 300", "clients was 3, now 4", "gamma was 15.0, now 2.0"):
        assert name in again.err[-1]
    assert contents(tmp_path / "run") == before


def test_resume_takes_up_the_settings_of_its_folder_and_tells_what_is_changed(spawn: Any, tmp_path: Path) -> None:
    run = ["peer", "--id", 0, "--data", "digits", "--limit", 200, *SMALL, "--steps", 2, "--lr", 0.01]
    assert spawn(*run, "--out", tmp_path / "run").wait() == 0
    again = spawn("peer", "--id", 0, "--resume", "--out", tmp_path / "run", "--steps", 4)
    assert again.wait() == 0, again.err
    assert any(line.endswith("going on with other settings than before: steps 4 (was 2)") for line in again.err)
    settings = read_toml(tmp_path / "run" / "config.toml")
    assert (settings["data"]["limit"], settings["train"]["steps"], settings["train"]["lr"]) == (200, 4, 0.01)
    assert settings["model"]["model"] == "mobilenet_v3_small"


def test_accuracy_stands_beside_the_number_of_images_that_it_was_measured_on(spawn: Any, box: Path) -> None:
    assert spawn(*peer(box)).wait() == 0
    for number in range(300, 330):
        picture(box / "more" / "dark" / f"{number}.png", number, 60)
    again = spawn(*peer(box, "--resume", "--eval", f"folder:{box}/more"))  # it is done: nothing is evaluated anew
    assert again.wait() == 0, again.err
    assert " on 4 images" in again.out[-1]


def test_run_that_held_nothing_out_is_not_evaluated_on_what_it_was_trained_on(spawn: Any, box: Path) -> None:
    shutil.copytree(box / "own", box / "others")
    assert spawn(*peer(box, "--eval", f"folder:{box}/others")).wait() == 0
    settings = box / "run" / "config.toml"
    settings.write_text(re.sub("(?m)^eval = .*$", "", settings.read_text()))
    found = spawn("eval", "--checkpoint", box / "run")
    assert found.wait() == 1
    assert "has held no picture out, since it was evaluated on --eval" in found.err[-1]
