"""A box that collects while it trains: pictures come, go and move, and a real peer follows without a stop."""

import json
import re
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from edgekd.config import DataConfig
from edgekd.data.datasets import load_peer_data
from edgekd.data.held_out import pixel_digests

SMALL = ["--model", "mobilenet_v3_small", "--batch", 8, "--public-batch", 8, "--weights", "none", "--eval-every", 0]
CLASSES = ("dark", "grey", "light")
MEANS = dict(zip(CLASSES, (60, 120, 180), strict=True))


def picture(path: Path, seed: int) -> Path:
    """Noise around the grey value of its class: all of them are different."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = torch.randint(-30, 30, (16, 16, 3), generator=torch.Generator().manual_seed(seed))
    Image.fromarray((noise + MEANS.get(path.parent.name, 90)).to(torch.uint8).numpy()).save(path)
    return path


@pytest.fixture
def box(spawn: Any, tmp_path: Path) -> Path:
    """A folder of 40 private pictures of two of three classes, and a public file."""
    for number in range(20):
        picture(tmp_path / "own" / "dark" / f"{number:02}.png", number)
        picture(tmp_path / "own" / "light" / f"{number:02}.png", 100 + number)
        picture(tmp_path / "shared" / f"{number:02}.png", 200 + number)
    public = tmp_path / "public.safetensors"
    made = spawn("public", tmp_path / "shared", "--classes", ",".join(CLASSES), "--size", 32, "-o", public)
    assert made.wait() == 0, made.err
    return tmp_path


def peer(box: Path, *more: object) -> list[object]:
    files = ["--private", f"folder:{box}/own", "--public", box / "public.safetensors", "--rescan", 0.1]
    return ["peer", "--id", 0, *files, *SMALL, "--steps", 0, "--json", "--out", box / "run", *more]


def now(process: Any) -> tuple[int, int]:
    """The numbers of pictures to train on and to evaluate on, by the last line in the log about them."""
    found = re.findall(r"now (\d+) to train on, (\d+) to evaluate on", process.said)
    return (int(found[-1][0]), int(found[-1][1])) if found else (36, 4)


def told(process: Any, what: str) -> int:
    """The number of pictures that the log reports as `what`, such as ``removed``."""
    return sum(int(number) for number in re.findall(rf"(\d+) {what}", process.said))


def until_trained(process: Any, total: int) -> None:
    """Wait until the peer trains on all but the held-out ones of `total` pictures."""

    def trains(p: Any) -> bool:
        return sum(now(p)) == total and p.last.get("private_samples") == now(p)[0] and p.last["state"] == "training"

    process.until(trains)


def held_out(box: Path) -> set[str]:
    return set(json.loads((box / "run" / "held-out.json").read_text())["held_out"])


def counts(box: Path) -> list[int]:
    """How many pictures each step has trained on."""
    return [json.loads(line)["private_samples"] for line in (box / "run" / "metrics.jsonl").read_text().splitlines()]


def evaluated(spawn: Any, box: Path) -> dict[str, Any]:
    found = spawn("eval", "--checkpoint", box / "run", "--json")
    assert found.wait() == 0, found.err
    result: dict[str, Any] = json.loads("\n".join(found.out))
    return result


def test_new_class_is_trained_on_and_what_is_half_damaged_or_unknown_is_not(spawn: Any, box: Path) -> None:
    running = spawn(*peer(box))
    until_trained(running, 40)
    whole = picture(box / "whole.png", 900).read_bytes()
    picture(box / "own" / "yak" / "1.png", 1)
    (box / "own" / "grey").mkdir()
    (box / "own" / "grey" / "broken.jpg").write_bytes(b"no picture")
    (box / "own" / "grey" / "slow.png").write_bytes(whole[: len(whole) // 2])
    for number in range(10):
        picture(box / "own" / "grey" / f"{number}.png", 300 + number)
    until_trained(running, 50)
    assert told(running, "new picture") == 10
    assert "; the first of grey; now " in running.said
    (box / "own" / "grey" / "slow.png").write_bytes(whole)
    until_trained(running, 51)
    running.until_says(f"cannot read {box}/own/grey/broken.jpg: not a picture")
    running.until(lambda p: told(p, "could not be read"))
    picture(box / "own" / "yak" / "2.png", 2)
    picture(box / "own" / "dark" / "last.png", 3)
    until_trained(running, 52)
    running.terminate()
    assert running.said.count("has a subfolder yak, which the public file does not know; known: dark, grey, light") == 1
    assert running.said.count(f"cannot read {box}/own/grey/broken.jpg") == 1
    assert counts(box)[0] == 36
    assert counts(box)[-1] == now(running)[0]
    again = evaluated(spawn, box)
    assert again["evaluation_samples"] == now(running)[1]


def test_removed_and_relabelled_pictures_are_followed(spawn: Any, box: Path) -> None:
    running = spawn(*peer(box, "--eval-every", 2))
    until_trained(running, 40)
    for number in range(8):
        (box / "own" / "dark" / f"{number:02}.png").unlink()
    (box / "own" / "grey").mkdir()
    for number in range(4):
        (box / "own" / "light" / f"{number:02}.png").rename(box / "own" / "grey" / f"{number}.png")
    running.until(lambda p: told(p, "removed") + told(p, "moved") == 12)
    until_trained(running, 32)
    step = running.last["step"]
    running.until(lambda p: p.last["step"] > step + 4)  # it has been evaluated since then
    running.terminate()
    # One that a look finds at both places is told of as new, and then as removed.
    assert told(running, "new picture") + told(running, "moved") == 4
    found = {each["name"]: each["support"] for each in evaluated(spawn, box)["classes"]}
    private = json.loads((box / "run" / "evaluation.json").read_text())["private"]
    assert [private[i] + found[name] for i, name in enumerate(CLASSES)] == [12, 4, 16]


def test_peer_that_is_killed_goes_on_with_what_it_had_taken_up_and_holds_out_what_it_had_held_out(
    spawn: Any, box: Path
) -> None:
    first = spawn(*peer(box, "--checkpoint-every", 5))
    until_trained(first, 40)
    for number in range(60):
        picture(box / "own" / "grey" / f"{number}.png", 300 + number)
    until_trained(first, 100)
    step, before = first.last["step"], now(first)
    first.until(lambda p: p.last["step"] >= step + 10)  # a checkpoint since then
    held = held_out(box)
    assert len(held) == before[1]
    first.kill9()
    (box / "own" / "grey" / "0.png").rename(box / "own" / "grey" / "first.png")
    picture(box / "own" / "light" / "while-it-was-away.png", 999)
    second = spawn(*peer(box, "--resume"))
    second.until(lambda p: p.last.get("state") == "training" and p.last["step"] > step)
    sides = second.last["private_samples"], len(held_out(box))
    assert sides in ((before[0] + 1, before[1]), (before[0], before[1] + 1))
    assert held_out(box) >= held
    (box / "own" / "grey" / "first.png").unlink()
    second.until_says("1 removed")
    second.terminate()
    assert second.says("going on with other settings") is None, "--rescan is one of the folder's"
    assert evaluated(spawn, box)["evaluation_samples"] in (sides[1], sides[1] - 1)


def test_thousand_pictures_come_while_it_trains_none_is_read_half_and_none_is_on_both_sides(
    spawn: Any, box: Path
) -> None:
    whole = {number: picture(box / "made" / f"{number}.png", 5000 + number).read_bytes() for number in range(1000)}
    running = spawn(*peer(box, "--rescan", 0.3, "--checkpoint-every", 5))  # half ones are given up after 12 looks
    until_trained(running, 40)
    (box / "own" / "grey").mkdir()
    for start in range(0, 1000, 50):
        for part in range(3):
            for number in range(start, start + 50):
                content = whole[number]
                with (box / "own" / CLASSES[number % 3] / f"n{number}.png").open("ab") as file:
                    file.write(content[part * len(content) // 3 : (part + 1) * len(content) // 3])
            if start % 250 == 0:  # for some looks these lie there half
                looked = running.last["seconds"]
                running.until(lambda p, looked=looked: p.last["seconds"] > looked + 0.9)
    until_trained(running, 1040)
    trained, _ = now(running)
    running.terminate()
    assert running.says("cannot read") is None
    assert len(set(counts(box))) > 3, "it trained all the while"
    held = held_out(box)
    # A picture that was read half would have a digest of its own.
    config = DataConfig(private=f"folder:{box}/own", public=str(box / "public.safetensors"))
    found = load_peer_data(config, 0, 0, box / "run")
    assert held == {*pixel_digests(found.evaluation.images)}
    assert len(found.private.labels) == trained
    assert not held & {*pixel_digests(found.private.images)}


def test_disk_that_is_unmounted_and_mounted_again_ends_nothing(spawn: Any, box: Path) -> None:
    running = spawn(*peer(box))
    until_trained(running, 40)
    (box / "own").rename(box / "away")
    running.until_says(f"{box}/own: No such file or directory; training goes on with the pictures in memory")
    step = running.last["step"]
    running.until(lambda p: p.last["step"] > step + 5)
    (box / "away").rename(box / "own")
    running.until_says(f"{box}/own is read as before")
    picture(box / "own" / "grey" / "1.png", 300)
    until_trained(running, 41)
    running.terminate()
    assert running.said.count("training goes on") == 1
    assert told(running, "removed") == 0


def test_waiting_peer_takes_up_pictures_without_a_neighbour_and_prometheus_is_told(spawn: Any, box: Path) -> None:
    waiting = spawn(*peer(box, "--listen", "127.0.0.1:0", "--wait-for", 1, "--metrics-port", 0))
    waiting.until(lambda p: p.last.get("private_samples") == 36 and p.last["state"] == "waiting")
    picture(box / "own" / "grey" / "1.png", 300)
    picture(box / "own" / "grey" / "2.png", 301)
    waiting.until(lambda p: sum(now(p)) == 42)
    waiting.until(lambda p: p.last["private_samples"] == now(p)[0] and p.last["state"] == "waiting")
    address = re.findall(r"serving metrics on (\S+)", waiting.said)[0]
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert f"edgekd_private_images {now(waiting)[0]}.0\n" in answer.read().decode()
    waiting.terminate()


def test_start_with_a_class_that_nobody_knows_is_refused_unless_the_folder_is_looked_at_again(
    spawn: Any, box: Path
) -> None:
    picture(box / "own" / "yak" / "1.png", 1)
    refused = spawn(*[each for each in peer(box) if each not in ("--rescan", 0.1)])
    assert refused.wait() == 1
    assert "has a subfolder yak, which the public file does not know" in refused.err[-1]
    running = spawn(*peer(box))
    running.until_says("has a subfolder yak, which the public file does not know; known: dark, grey, light: left out")
    until_trained(running, 40)
    picture(box / "own" / "dark" / "new.png", 3)
    until_trained(running, 41)
    running.terminate()
    assert running.said.count("yak") == 1


def test_bound_keeps_the_newest_in_memory_from_the_start_on(spawn: Any, box: Path) -> None:
    shutil.copytree(box / "own", box / "eval")  # else the last picture to evaluate on might stay beyond the bound
    running = spawn(*peer(box, "--keep", 20, "--eval", f"folder:{box}/eval"))
    running.until(lambda p: p.last.get("state") == "training")
    assert running.last["private_samples"] == 20
    for number in range(10):
        picture(box / "own" / "grey" / f"{number}.png", 300 + number)
    running.until(lambda p: told(p, "new picture") == told(p, "dropped for newer ones") >= 7)
    running.terminate()
    assert max(counts(box)) == 20
    assert counts(box)[-1] >= 17, "the last three of the ten may have been seen, but not yet read"
