"""From a peer's folder to answers: by edgekd itself, by a program that watches a folder, and by one without edgekd."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import drawing
import pytest

import edgekd

SMALL = ["--model", "mobilenet_v3_small", "--batch", 8, "--public-batch", 8, "--weights", "none", "--eval-every", 0]
EXAMPLE = Path(edgekd.__file__).parents[1] / "examples" / "onnx_camera.py"


picture = partial(drawing.picture, height=40, width=48)


@pytest.fixture
def box(spawn: Any, tmp_path: Path) -> Path:
    """A folder with pictures, and the folder ``run`` of a peer that has trained on them."""
    for number in range(12):
        picture(tmp_path / "own" / "dark" / f"{number:02}.png", number, 60)
        picture(tmp_path / "own" / "light" / f"{number:02}.png", 100 + number, 180)
        picture(tmp_path / "shared" / f"{number:02}.png", 200 + number, 60 + 9 * number)
    public = tmp_path / "public.safetensors"
    made = spawn("public", tmp_path / "shared", "--classes", "dark,light", "--size", 32, "-o", public)
    assert made.wait() == 0, made.err
    files = ["--private", f"folder:{tmp_path}/own", "--public", public]
    trained = spawn("peer", "--id", 0, *files, *SMALL, "--steps", 3, "--out", tmp_path / "run")
    assert trained.wait() == 0, trained.err
    return tmp_path


def predicted(spawn: Any, box: Path, *arguments: object) -> list[dict[str, Any]]:
    done = spawn("predict", *arguments, "--checkpoint", box / "run", "--json")
    assert done.wait() == 0, done.err
    found: list[dict[str, Any]] = json.loads("\n".join(done.out))
    return found


def test_prediction_names_what_it_cannot_read_and_fails_only_if_that_is_all(spawn: Any, box: Path) -> None:
    (box / "own" / "light" / "broken.png").write_text("no picture")
    found = predicted(spawn, box, box / "own", "--csv", box / "found.csv")
    assert len(found) == 25
    (broken,) = [each for each in found if "error" in each]
    assert broken == {"file": f"{box}/own/light/broken.png", "error": broken["error"]}
    for each in found:
        if each is not broken:
            assert {named["name"] for named in each["classes"]} == {"dark", "light"}
            assert sum(named["probability"] for named in each["classes"]) == pytest.approx(1, abs=1e-5)
    assert len((box / "found.csv").read_text().splitlines()) == 26
    lines = spawn("predict", f"{box}/own/*/0*.png", "--checkpoint", box / "run", "--top", 1)
    assert lines.wait() == 0, lines.err
    assert len(lines.out) == 20
    here, gone = box / "own" / "dark" / "00.png", box / "own" / "gone.png"
    answered, missing = predicted(spawn, box, here, gone)
    assert (answered["file"], "error" in answered) == (str(here), False)
    assert missing == {"file": str(gone), "error": "No such file or directory"}
    none = spawn("predict", box / "own" / "light" / "broken.png", "--checkpoint", box / "run")
    assert none.wait() == 1
    assert none.err[-1] == "edgekd: none of the 1 pictures can be read"


def test_watching_reads_each_new_picture_once_it_is_whole(spawn: Any, box: Path) -> None:
    folder, source = box / "camera", picture(box / "whole.png", 7, 90).read_bytes()
    picture(folder / "old.png", 1, 90)
    watching = spawn("predict", "--watch", folder, "--checkpoint", box / "run", "--json", "--every", 0.2)
    watching.until_says("watching")
    with (folder / "slow.png").open("wb") as slow:
        slow.write(source[: len(source) // 2])
        slow.flush()
        picture(folder / "quick.png", 8, 90)
        watching.until(lambda p: p.out)
        assert [json.loads(line)["file"] for line in watching.out] == [f"{folder}/quick.png"]
        slow.write(source[len(source) // 2 :])
    watching.until(lambda p: len(p.out) == 2)
    found = json.loads(watching.out[1])
    assert found == predicted(spawn, box, folder / "slow.png")[0]
    watching.terminate()
    assert len(watching.out) == 2
    assert watching.said.count("cannot read") == 0


def test_checkpoint_is_judged_class_by_class_as_text_json_and_page(spawn: Any, box: Path) -> None:
    done = spawn("eval", "--checkpoint", box / "run", "--json", "--html", box / "page.html", "--eval", box / "own")
    assert done.wait() == 0, done.err
    found = json.loads("\n".join(done.out))
    assert found["evaluation_samples"] == 24
    assert [(each["name"], each["support"]) for each in found["classes"]] == [("dark", 12), ("light", 12)]
    assert sum(found["confusion"][i][i] for i in (0, 1)) == round(24 * found["accuracy"])
    page = (box / "page.html").read_text()
    for mistake in found["surest_mistakes"]:
        file = Path(mistake["file"])
        assert file.parent.name == mistake["label"]
        assert file.is_file()
        assert f"{file.parent.name}/{file.name}</span>" in page
    assert page.count("<img ") == len(found["surest_mistakes"])
    shown = spawn("eval", "--checkpoint", box / "run")
    assert shown.wait() == 0, shown.err
    assert shown.out[0].startswith("peer 0 at step 3: accuracy ")
    assert any("precision" in line for line in shown.out)
    assert shown.out[-1].startswith("expected calibration error ")


def test_evaluation_of_a_peer_leaves_its_counts_which_tell_eval_of_the_shard(spawn: Any, box: Path) -> None:
    counted = json.loads((box / "run" / "evaluation.json").read_text())
    summary = json.loads((box / "run" / "summary.json").read_text())["peers"][0]
    assert (counted["id"], counted["step"], counted["classes"]) == (0, 3, ["dark", "light"])
    assert sum(counted["private"]) == summary["private_samples"]
    assert sum(count for _, _, count in counted["confusion"]) == counted["evaluation_samples"]
    right = sum(count for label, predicted, count in counted["confusion"] if label == predicted)
    assert right / counted["evaluation_samples"] == pytest.approx(summary["accuracy"])
    done = spawn("eval", "--checkpoint", box / "run", "--json")
    assert done.wait() == 0, done.err
    found = json.loads("\n".join(done.out))
    assert found["own_accuracy"] == pytest.approx(summary["own_accuracy"])
    (box / "elsewhere.json").write_bytes((box / "run" / "evaluation.json").read_bytes())
    by_counts = spawn("eval", "--counts", box / "elsewhere.json", "--json", "--html", box / "page.html")
    assert by_counts.wait() == 0, by_counts.err
    assert json.loads("\n".join(by_counts.out))["confusion"] == found["confusion"]
    assert "<h1>Peer 0 at step 3" in (box / "page.html").read_text()


def test_exported_file_gives_the_same_answers_to_a_program_without_torch_and_edgekd(spawn: Any, box: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs edgekd[export]")
    pytest.importorskip("onnx", reason="needs edgekd[export]")
    done = spawn("export", "--checkpoint", box / "run", "-o", box / "model.onnx", "--json")
    assert done.wait() == 0, done.err
    about = json.loads("\n".join(done.out))
    assert about["bytes"] == (box / "model.onnx").stat().st_size
    assert about["difference"]["images"] == 12, "of the public set"
    # Modules that are None cannot be imported: as if they were not installed.
    code = "import runpy, sys; sys.modules.update(torch=None, edgekd=None); sys.argv = sys.argv[1:]; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, EXAMPLE, box / "model.onnx"]
    given: dict[str, Any] = {"text": True, "timeout": 120, "env": {**os.environ, "PYTHONSAFEPATH": "1"}}
    run = subprocess.run([*command, box / "own" / "dark", "--top", "2"], capture_output=True, check=True, **given)
    lines = dict(line.rsplit(": ", 1) for line in run.stdout.splitlines())
    expected = predicted(spawn, box, box / "own" / "dark")
    assert len(lines) == len(expected) == 12
    for each in expected:
        said = dict(part.rsplit(" ", 1) for part in lines[each["file"]].split(", "))
        for named in each["classes"]:
            assert float(said[named["name"]]) == pytest.approx(named["probability"], abs=2e-4)
    reads, writes = os.pipe()
    os.close(reads)  # as after `| head -1`
    with open(writes, "w") as broken:
        unheard = subprocess.run([*command, box / "own" / "dark"], stdout=broken, stderr=subprocess.PIPE, **given)
    assert (unheard.returncode, unheard.stderr) == (1, "")
    (box / "empty").mkdir()
    empty = subprocess.run([*command, box / "empty"], capture_output=True, **given)
    assert (empty.returncode, empty.stdout) == (1, "")
    assert empty.stderr.startswith(f"no pictures in {box}/empty: ")
    assert len(empty.stderr.splitlines()) == 1


def test_peer_that_is_stopped_between_two_evaluations_says_of_which_step_its_accuracy_is(spawn: Any, box: Path) -> None:
    files, run = ["--private", f"folder:{box}/own", "--public", box / "public.safetensors"], box / "stopped"
    peer = spawn("peer", "--id", 0, *files, *SMALL[:-2], "--eval-every", 1000, "--steps", 4, "--out", run)
    assert peer.wait() == 0, peer.err
    peer = spawn("peer", "--resume", "--out", run, "--steps", 0, "--json")
    peer.until_step(6)
    peer.terminate()
    (summary,) = json.loads((run / "summary.json").read_text())["peers"]
    assert summary["accuracy_step"] == 4
    assert summary["steps"] >= 6
    done = spawn("export", "--checkpoint", run, "-o", box / "w.safetensors", "--json")
    assert done.wait() == 0, done.err
    about = json.loads("\n".join(done.out))["metadata"]
    assert (about["step"], about["accuracy_step"]) == (str(summary["steps"]), "4")
    again = spawn("peer", "--resume", "--out", run, "--steps", 4)
    assert again.wait() == 0, again.err
    assert " on 2 images, " in again.out[-1], "it is done, and what has no accuracy yet is evaluated"
    (summary,) = json.loads((run / "summary.json").read_text())["peers"]
    assert summary["accuracy_step"] == summary["steps"] >= 6


def test_mistakes_are_one_line(spawn: Any, box: Path) -> None:
    (box / "model.onnx").write_bytes(b"nonsense")
    run, pictures = box / "run", box / "own"
    for arguments, says in [
        (["predict", pictures, "--checkpoint", box], "no checkpoint in"),
        (["predict", "--checkpoint", run], "name pictures, folders or patterns"),
        (["predict", box / "nothing.png", "--checkpoint", run], "none of the 1 pictures can be read"),
        (["predict", "--watch", box / "nowhere", "--checkpoint", run], "there is no folder"),
        (["predict", pictures, "--watch", pictures, "--csv", "t.csv", "--checkpoint", run], "--watch has no end"),
        (["predict", pictures, "--checkpoint", run, "--peer", 3], "is of peer 0, not of peer 3"),
        (["predict", pictures, "--checkpoint", run, "--csv", box / "model.onnx" / "t.csv"], "is a file, not a folder"),
        (["eval", "--checkpoint", run, "--html", box], "it is a folder"),
        (["eval", "--json"], "give either --checkpoint, or the --counts"),
        (["eval", "--checkpoint", run, "--counts", run], "give either --checkpoint, or the --counts"),
        (["eval", "--counts", box], "a peer writes it at its first evaluation"),
        (["eval", "--checkpoint", run, "--html", box / "model.onnx" / "page.html"], "is a file, not a folder"),
        (["export", "--checkpoint", run, "-o", box], "it is a folder"),
        (["export", "--checkpoint", box / "model.onnx", "-o", box / "m.onnx"], "is an exported file"),
        (
            ["export", "--checkpoint", run, "-o", "m.tflite"],
            "ends in .tflite: end it in .onnx or .safetensors",
        ),
        (
            ["export", "--checkpoint", run, "-o", "m.onnx", "--format", "safetensors"],
            "m.onnx ends in .onnx, and --format is safetensors",
        ),
        (
            ["export", "--checkpoint", run, "-o", box / "m.safetensors", "--quantise", "int8"],
            "int8 is for --format onnx",
        ),
        (
            ["export", "--checkpoint", run, "-o", box / "m.onnx", "--quantise", "int8", "--precision", "float16"],
            "--quantise and --precision exclude one another",
        ),
    ]:
        failed = spawn(*arguments)
        assert failed.wait() == 1, arguments
        assert "Traceback" not in failed.said
        assert failed.err[-1].startswith("edgekd: ")
        assert says in failed.err[-1]
    code = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    pytest.importorskip("onnxruntime", reason="needs edgekd[export]")
    unreadable = subprocess.run(
        [sys.executable, "-c", code, EXAMPLE, box / "model.onnx", pictures], capture_output=True, text=True, timeout=120
    )
    assert unreadable.returncode == 1
    assert unreadable.stderr.startswith(f"cannot read {box}/model.onnx: ")
    assert len(unreadable.stderr.splitlines()) == 1
