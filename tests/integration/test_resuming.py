"""Going on in a folder: what was held out stays held out, and what does not fit changes no byte there."""

import json
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drawing import picture
from processes import contents

from edgekd.config import read_toml
from edgekd.exit_codes import ExitCode
from edgekd.files.checkpoint import load_newest, save_checkpoint

SMALL = ["--model", "mobilenet_v3_small", "--batch", 8, "--public-batch", 8, "--weights", "none", "--eval-every", 0]


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


def test_resume_with_fewer_steps_than_are_done_says_that_nothing_is_left(spawn: Any, box: Path) -> None:
    assert spawn(*peer(box, "--steps", 3)).wait() == 0
    again = spawn(*peer(box, "--steps", 2, "--resume"))
    assert again.wait() == 0, again.err
    assert again.says(
        "--steps is 2, and 3 are done: nothing is left to train; --steps counts from the first start: give more than 3"
    )
    assert not any("3/2" in line for line in again.out + again.err)
    assert not spawn(*peer(box, "--resume")).says("nothing is left to train")


def test_accuracy_stands_beside_the_number_of_images_that_it_was_measured_on(spawn: Any, box: Path) -> None:
    assert spawn(*peer(box)).wait() == 0
    for number in range(300, 330):
        picture(box / "more" / "dark" / f"{number}.png", number, 60)
    again = spawn(*peer(box, "--resume", "--eval", f"folder:{box}/more"))  # it is done: nothing is evaluated anew
    assert again.wait() == 0, again.err
    assert " on 4 images" in again.out[-1]


@pytest.fixture
def common(spawn: Any, box: Path) -> Path:
    """A box that was trained on its shard of a folder, which all share."""
    assert spawn(*of_common(box)).wait() == 0
    return box


def of_common(box: Path, *more: object) -> list[object]:
    shared = ["--data", f"folder:{box}/own", "--size", 32, "--clients", 2, "--public-fraction", 0.3]
    return ["peer", "--id", 0, *shared, *SMALL, "--steps", 3, "--out", box / "run", *more]


def add(box: Path) -> None:
    picture(box / "own" / "dark" / "-first.png", 999, 60)


def remove(box: Path) -> None:
    (box / "own" / "light" / "07.png").unlink()


def replace_all(box: Path) -> None:
    for number, file in enumerate(sorted((box / "own").rglob("*.png"))):
        picture(file, 5000 + number, 120)


@pytest.mark.parametrize("change", [add, remove, replace_all])
def test_common_folder_that_is_dealt_out_anew_is_named_and_every_byte_stays(
    spawn: Any, common: Path, change: Any
) -> None:
    again = spawn("eval", "--checkpoint", common / "run")
    assert again.wait() == 0, again.err
    before = contents(common / "run")
    change(common)
    for refused in (spawn("eval", "--checkpoint", common / "run"), spawn(*of_common(common, "--resume"))):
        assert refused.wait() == 1
        assert "were added, removed, renamed or changed, so images that were trained on could be" in refused.err[-1]
        assert contents(common / "run") == before
    elsewhere = spawn("eval", "--checkpoint", common / "run", "--eval", f"folder:{common}/own")
    assert elsewhere.wait() == 0, elsewhere.err


def make_old(run: Path) -> None:
    """Take out of the checkpoints what earlier versions did not write into them."""
    found = load_newest(run)
    assert found is not None
    for file in run.glob("checkpoint-*"):
        file.unlink()
    save_checkpoint(run, replace(found.info, made_with={}), found.state)


def test_checkpoint_of_an_earlier_version_is_compared_with_the_settings_of_its_folder(spawn: Any, common: Path) -> None:
    make_old(common / "run")
    before = contents(common / "run")
    refused = spawn(*of_common(common, "--resume", "--seed", 5, "--temperature", 3))
    assert refused.wait() == 1
    assert "seed was 0, now 5; data_seed was 0, now 5; temperature was 2.0, now 3.0" in refused.err[-1]
    (common / "other.toml").write_text(f'[data]\ndata = "folder:{common}/own"\nclients = 2\nlimit = 20\n')
    wrong = spawn("eval", "--checkpoint", common / "run", "--config", common / "other.toml")
    assert wrong.wait() == 1
    assert "limit was not set, now 20" in wrong.err[-1]
    assert contents(common / "run") == before
    for going_on in (spawn("eval", "--checkpoint", common / "run"), spawn(*of_common(common, "--resume"))):
        assert going_on.wait() == 0, going_on.err
        assert "was made before edgekd noted which images it is evaluated on" in "".join(going_on.err)


def test_checkpoint_of_an_earlier_version_without_settings_beside_it_is_gone_on_from(spawn: Any, common: Path) -> None:
    make_old(common / "run")
    (common / "run" / "config.toml").unlink()
    again = spawn(*of_common(common, "--resume", "--steps", 5))
    assert again.wait() == 0, again.err
    assert any("resumed at step 3" in line for line in again.err)


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield f"127.0.0.1:{other.getsockname()[1]}"


@pytest.mark.parametrize(
    ("flag", "said"), [("--listen", "cannot listen on"), ("--metrics-port", "cannot serve metrics on")]
)
def test_resume_that_cannot_start_changes_no_byte(spawn: Any, box: Path, taken: str, flag: str, said: str) -> None:
    assert spawn(*peer(box)).wait() == 0
    run = box / "run"
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9}\n')  # a resume that succeeds drops it
    (run / ".checkpoint-00000009.safetensors.1.tmp").write_bytes(b"half")  # and this
    before = contents(run)
    again = spawn(*peer(box, "--resume", "--lr", 0.5, flag, taken))
    assert again.wait() == ExitCode.TRANSIENT
    assert said in again.err[-1]
    assert contents(run) == before
    assert spawn(*peer(box, "--resume")).wait() == 0
    assert contents(run).keys() == before.keys() - {str(run / ".checkpoint-00000009.safetensors.1.tmp")}
    assert '"step": 9' not in (run / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--listen", "TAKEN"], ExitCode.TRANSIENT, "cannot listen on"),
        (["--private", "folder:nowhere"], ExitCode.FAILED, "there is no folder nowhere"),
        (["--weights", "damaged"], ExitCode.FAILED, "damaged"),
        (["--public", "damaged"], ExitCode.FAILED, "damaged"),
    ],
)
def test_start_that_fails_leaves_no_folder_that_it_has_made_and_those_that_were_there_as_they_were(
    spawn: Any, box: Path, taken: str, flags: list[str], code: ExitCode, said: str
) -> None:
    (box / "damaged").write_bytes(b"no tensors")
    (box / "empty").mkdir()
    (box / "full").mkdir()
    (box / "full" / "notes.txt").write_text("mine")
    before = sorted(box.rglob("*"))
    flags = [taken if flag == "TAKEN" else flag for flag in flags]
    for out in ([], ["--out", "new/run"], ["--out", "empty"], ["--out", "full"]):
        command = peer(box)
        failed = spawn(*command[: command.index("--out")], *flags, *out)
        assert failed.wait() == code
        assert said in failed.err[-1]
        assert sorted(box.rglob("*")) == before
    assert spawn(*peer(box)).wait() == 0


def test_id_comes_from_the_folder_that_is_gone_on_in(spawn: Any, box: Path) -> None:
    assert spawn(*peer(box, "--id", 7)).wait() == 0
    again = spawn("peer", "--resume", "--out", box / "run", "--steps", 4)
    assert again.wait() == 0, again.err
    assert again.out[-1].startswith("peer 7: ")
    other = spawn("peer", "--id", 8, "--resume", "--out", box / "run")
    assert other.wait() == 1
    assert "the checkpoint's id is 7, this peer's is 8" in other.err[-1]


def test_id_is_asked_for_where_no_checkpoint_says_it(spawn: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    unknown = spawn("peer", "--resume", "--out", tmp_path / "run")
    assert unknown.wait() == 1
    assert re.search("no sound checkpoint in .*run says which peer this is: give --id", unknown.err[-1])
    new = spawn("peer", "--data", "digits")
    assert new.wait() == 2
    assert "Missing option '--id'" in new.err[-1]


def test_accuracies_of_every_step_stand_beside_the_number_of_their_images(spawn: Any, box: Path) -> None:
    run = spawn(*peer(box, "--json"))
    assert run.wait() == 0
    told = [event for event in run.events if event["event"] == "progress" and event["accuracy"] is not None]
    assert {event["evaluation_samples"] for event in told} == {4}
    records = [json.loads(line) for line in (box / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["evaluation_samples"] for record in records if "accuracy" in record] == [4]
    shown = spawn(*peer(box, "--out", box / "another"))
    assert shown.wait() == 0
    assert any(re.search(r"accuracy \d\.\d+ on 4,", line) for line in shown.out[:-1])


def test_run_that_held_nothing_out_is_not_evaluated_on_what_it_was_trained_on(spawn: Any, box: Path) -> None:
    shutil.copytree(box / "own", box / "others")
    assert spawn(*peer(box, "--eval", f"folder:{box}/others")).wait() == 0
    settings = box / "run" / "config.toml"
    settings.write_text(re.sub("(?m)^eval = .*$", "", settings.read_text()))
    found = spawn("eval", "--checkpoint", box / "run")
    assert found.wait() == 1
    assert "has held no picture out, since it was evaluated on --eval" in found.err[-1]


def test_start_that_was_killed_before_it_trained_binds_the_next_one_to_nothing(spawn: Any, box: Path) -> None:
    killed = spawn(*peer(box, "--eval", f"folder:{box}/own", "--listen", "127.0.0.1:0", "--wait-for", 1))
    killed.until(lambda p: (box / "run" / "held-out.json").is_file())
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert held_out(box) == set()
    again = spawn(*peer(box))
    assert again.wait() == 0, again.err
    assert len(held_out(box)) == 4
