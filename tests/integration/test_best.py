"""The best checkpoint is kept and found again, a fall below it is said once, and readers see only whole files."""

import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from drawing import picture

import edgekd
from edgekd.errors import ConfigError
from edgekd.files.checkpoint import load_best, load_checkpoint

DEADLINE = 60.0  # seconds: far more than any of this takes
SMALL = ["--model", "shufflenet_v2_x0_5", "--weights", "none", "--batch", 8, "--public-batch", 8, "--lr", 0.02]
SMALL += ["--augment", "none"]
IMAGES = 40  # to evaluate on


@pytest.fixture
def box(spawn: Any, tmp_path: Path) -> Path:
    """A box with 40 private pictures of two classes, as many to evaluate on, and a public file."""
    for number in range(IMAGES // 2):
        for place, folder in enumerate(("own", "checked")):
            picture(tmp_path / folder / "dark" / f"{number:02}.png", 1000 * place + number, 60)
            picture(tmp_path / folder / "light" / f"{number:02}.png", 1000 * place + 100 + number, 180)
        picture(tmp_path / "shared" / f"{number:02}.png", 200 + number, 60 + 6 * number)
    public = tmp_path / "public.safetensors"
    made = spawn("public", tmp_path / "shared", "--classes", "dark,light", "--size", 32, "-o", public)
    assert made.wait() == 0, made.err
    return tmp_path


def peer(box: Path, *more: object) -> list[object]:
    files = ["--private", box / "own", "--eval", box / "checked", "--public", box / "public.safetensors"]
    return ["peer", "--id", 0, *files, *SMALL, "--keep-best", "--out", box / "run", "--json", *more]


def judged(spawn: Any, box: Path, *more: object) -> dict[str, Any]:
    done = spawn("eval", "--checkpoint", box / "run", "--json", *more)
    assert done.wait() == 0, done.err
    found: dict[str, Any] = json.loads("\n".join(done.out))
    return found


def metric(process: Any, name: str) -> float:
    process.until(lambda p: p.says("serving metrics on"))
    where = next(line for line in process.err if "serving metrics on" in line).split()[-1]
    with urllib.request.urlopen(where, timeout=DEADLINE) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


def test_best_survives_a_kill_and_a_fall_below_it_is_said_once_and_counted(spawn: Any, box: Path) -> None:
    first = spawn(*peer(box, "--steps", 0, "--eval-every", 5, "--checkpoint-every", 5))
    first.until(lambda p: (p.last.get("best") or 0) >= 0.9)
    first.kill9()
    best = load_best(box / "run")
    assert best is not None
    assert best.info.accuracy is not None
    kept, reached = best.path.read_bytes(), best.info.accuracy.overall
    (box / "own" / "dark").rename(box / "own" / "other")  # whoever sorts the pictures has mixed up the folders
    (box / "own" / "light").rename(box / "own" / "dark")
    (box / "own" / "other").rename(box / "own" / "light")

    again = spawn(*peer(box, "--resume", "--metrics-port", 0))
    again.until_says(f"the best accuracy so far is {reached:.3f} ± ")
    assert again.says(f", at step {best.info.step}")
    again.until_says("the accuracy has fallen: ")
    assert metric(again, "edgekd_best_accuracy_ratio") >= reached
    step = again.last["step"]
    again.until_step(step + 20)  # four evaluations more
    assert metric(again, "edgekd_accuracy_falls_total") == again.last["falls"] == 1
    again.terminate()
    assert again.said.count("the accuracy has fallen") == 1
    if again.last["best"] == reached:  # it may have got better before it fell
        assert (box / "run" / "best.safetensors").read_bytes() == kept

    newest, best_of_all = judged(spawn, box), judged(spawn, box, "--which", "best", "--html", box / "page.html")
    assert best_of_all["accuracy"] == again.last["best"] >= reached > newest["accuracy"]
    assert best_of_all["checkpoint"] == "best.safetensors"
    assert newest["checkpoint"] == f"checkpoint-{newest['step']:08d}.safetensors"
    assert "best.safetensors" in (box / "page.html").read_text()
    shown = spawn("eval", "--checkpoint", box / "run", "--which", "best")
    assert shown.wait() == 0, shown.err
    assert shown.out[0].startswith(f"peer 0 at step {best_of_all['step']}, its best: accuracy ")
    check_use(spawn, box, best_of_all["step"])


def check_use(spawn: Any, box: Path, step: int) -> None:
    """All that uses a network takes the best one."""
    asked = box / "checked" / "dark" / "00.png"
    said = {}
    for which in ("newest", "best"):
        done = spawn("predict", asked, "--checkpoint", box / "run", "--which", which, "--json")
        assert done.wait() == 0, done.err
        (answer,) = json.loads("\n".join(done.out))
        said[which] = {each["name"]: each["probability"] for each in answer["classes"]}
        loaded = edgekd.load(box / "run", which=which)
        assert loaded.predict(asked)[0].tolist() == pytest.approx(
            [said[which][name] for name in loaded.classes], abs=1e-5
        )
    assert max(said["best"], key=lambda name: said["best"][name]) == "dark" != said["newest"]
    assert said["best"] != said["newest"]
    done = spawn("export", "--checkpoint", box / "run", "--which", "best", "-o", box / "w.safetensors", "--json")
    assert done.wait() == 0, done.err
    about = json.loads("\n".join(done.out))["metadata"]
    assert (about["step"], about["checkpoint"]) == (str(step), "best.safetensors")
    with pytest.raises(ConfigError, match="which must be one of newest, best, got 'bset'"):
        edgekd.load(box / "run", which="bset")


def test_peer_goes_back_to_its_best_once_its_other_checkpoints_are_gone(spawn: Any, box: Path) -> None:
    first = spawn(*peer(box, "--steps", 4, "--eval-every", 2))
    assert first.wait() == 0, first.err
    best = load_best(box / "run")
    assert best is not None
    for file in (box / "run").glob("checkpoint-*.safetensors"):
        file.unlink()
    again = spawn(*peer(box, "--resume", "--steps", 6))
    assert again.wait() == 0, again.err
    assert again.says(f"resumed at step {best.info.step}")
    steps = [json.loads(line)["step"] for line in (box / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_best_is_evaluated_anew_where_there_are_other_pictures_to_evaluate_on(spawn: Any, box: Path) -> None:
    first = spawn(*peer(box, "--steps", 2, "--eval-every", 1))
    assert first.wait() == 0, first.err
    best = load_best(box / "run")
    assert best is not None
    for number in range(10):
        picture(box / "checked" / "dark" / f"new-{number}.png", 5000 + number, 60)
    reached = judged(spawn, box, "--which", "best")
    assert reached["evaluation_samples"] == IMAGES + 10
    again = spawn(*peer(box, "--resume", "--steps", 3))
    assert again.wait() == 0, again.err
    said = f"other evaluation images than before: the best, of step {best.info.step}, has {reached['accuracy']:.3f} ± "
    assert again.says(said)
    assert again.last["best"] == max(reached["accuracy"], again.last["accuracy"])


READER = """
import logging, sys
from pathlib import Path
from edgekd.files.checkpoint import load_checkpoint, load_newest

logging.basicConfig(level=logging.WARNING)  # whatever is passed over is said
folder, wanted = Path(sys.argv[1]), int(sys.argv[2])
seen, reads = set(), 0
while len(seen) < wanted:
    with open(folder / "current", "rb") as file:
        assert len(file.read()) > 1_000_000
    seen.add(load_checkpoint(folder / "current")[0].step)  # it compares the checksum
    load_checkpoint(folder / "best.safetensors")
    found = load_newest(folder)
    assert found is not None and found.info.step >= max(seen)
    reads += 4
print(f"{reads} reads, {len(seen)} checkpoints")
"""


def test_reader_sees_only_whole_files_while_a_peer_checkpoints_at_every_step(spawn: Any, box: Path) -> None:
    often = ["--steps", 0, "--checkpoint-every", 1, "--eval-every", 1]
    process = spawn(*peer(box, *often))
    folder = box / "run"
    process.until(lambda p: (folder / "current").exists())
    done = subprocess.run(
        [sys.executable, "-c", READER, folder, "15"], capture_output=True, text=True, timeout=2 * DEADLINE
    )
    assert (done.returncode, done.stderr) == (0, "")
    print(done.stdout)
    process.kill9()
    assert load_best(folder) is not None
    info, _ = load_checkpoint(folder / "current")
    assert (folder / "current").readlink() == Path(f"checkpoint-{info.step:08d}.safetensors")
    assert len(list(folder.glob("checkpoint-*.safetensors"))) <= 3  # one is new, and the link may still be old


@pytest.fixture
def run(spawn: Any, tmp_path: Path) -> Path:
    """The folder of a run, as `edgekd run` leaves it, with one peer."""
    settings = [
        "--data",
        "digits",
        "--limit",
        300,
        "--clients",
        2,
        *SMALL,
        "--steps",
        2,
        "--out",
        tmp_path / "run" / "peer-0",
    ]
    trained = spawn("peer", "--id", 0, *settings)
    assert trained.wait() == 0, trained.err
    shutil.copy(tmp_path / "run" / "peer-0" / "config.toml", tmp_path / "run")
    return tmp_path / "run"


def test_settings_are_found_in_the_folder_of_the_peer_or_of_the_run(spawn: Any, run: Path) -> None:
    for gone, where in ((run / "peer-0", run), (run / "peer-0", run / "peer-0"), (run, run)):
        settings = (gone / "config.toml").read_bytes()
        (gone / "config.toml").unlink()
        assert judged(spawn, run.parent, "--checkpoint", where)["evaluation_samples"] == 30
        (gone / "config.toml").write_bytes(settings)


def test_export_finds_the_public_set_of_a_run_whose_peer_has_no_settings_of_its_own(spawn: Any, run: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs edgekd[export]")
    (run / "peer-0" / "config.toml").unlink()
    small = ["--quantise", "int8", "-o", run / "small.onnx", "--json"]  # whose ranges come from the public set
    done = spawn("export", "--checkpoint", run, *small)
    assert done.wait() == 0, done.err
    assert json.loads("\n".join(done.out))["reduced"]["evaluation_samples"] == 30


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def test_folder_that_lacks_what_it_takes_is_one_line(spawn: Any, run: Path, tmp_path: Path) -> None:
    folder, out = run / "peer-0", tmp_path / "w.onnx"
    (tmp_path / "empty").mkdir()
    asked = picture(tmp_path / "asked.png", 0, 90)
    newest = folder / "checkpoint-00000002.safetensors"

    def fails(says: str, *arguments: object) -> None:
        failed = spawn(*arguments)
        assert failed.wait() == 1, arguments
        assert len(failed.err) == 1, "and no more than that is said"
        assert failed.err[-1].startswith("edgekd: ")
        assert says in failed.err[-1]

    for command in (["eval"], ["predict", asked], ["export", "-o", out]):
        fails("no checkpoint in", *command, "--checkpoint", tmp_path / "empty")
        fails("keeps it; use --which newest", *command, "--checkpoint", run, "--which", "best")
        fails("is one checkpoint: --which best chooses", *command, "--checkpoint", newest, "--which", "best")
    (folder / "config.toml").write_text("[train]\nfuture = 3\n")
    for command in (["eval"], ["export", "-o", out]):
        fails(f"{folder}/config.toml cannot be used: unknown setting 'future'", *command, "--checkpoint", run)
    for file in (run / "config.toml", folder / "config.toml"):
        file.unlink()
    fails("says what to evaluate on: use --eval folder:PATH or --config", "eval", "--checkpoint", run)
    fails("use --public FILE", "export", "-o", out, "--quantise", "int8", "--checkpoint", run)
    done = spawn("predict", asked, "--checkpoint", run)
    assert done.wait() == 0, "it needs none of them"
    shutil.copy(newest, folder / "best.safetensors")
    damage(folder / "best.safetensors")
    for command in (["eval"], ["predict", asked], ["export", "-o", out]):
        fails("best.safetensors is damaged", *command, "--checkpoint", run, "--which", "best")


def test_damaged_checkpoint_is_passed_over_with_a_warning_by_all_who_use_one(
    spawn: Any, run: Path, tmp_path: Path
) -> None:
    folder = run / "peer-0"
    shutil.copy(folder / "checkpoint-00000002.safetensors", folder / "checkpoint-00000009.safetensors")
    damage(folder / "checkpoint-00000009.safetensors")
    asked = picture(tmp_path / "asked.png", 0, 90)
    for command in (["eval"], ["predict", asked], ["export", "-o", tmp_path / "w.safetensors"]):
        done = spawn(*command, "--checkpoint", run)
        assert done.wait() == 0, done.err
        (warned,) = done.err
        assert "checkpoint-00000009.safetensors is damaged" in warned
        assert warned.endswith("; trying the one before it")
