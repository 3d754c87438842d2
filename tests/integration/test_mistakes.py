"""A user's mistake: one line that says what to do, a non-zero exit, no traceback."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


def pictures(folder: Path, *names: str, count: int = 12) -> Path:
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (20, 20), (number * 60, i * 9, 40)).save(folder / name / f"{i}.png")
    return folder


def fails(process: Any) -> str:
    """Wait until the process fails without a traceback; return its last line."""
    code = process.wait()
    said = "\n".join(process.err)
    assert code != 0, said
    assert "Traceback" not in said
    line = process.err[-1]
    assert line.startswith("edgekd: "), said
    return str(line)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (
            ["run", "--measure", "hell"],
            "measure must be one of ce, kl, js, td, sed, mse, FILE.py:function or package.module:function, got hell",
        ),
        (["run", "--alpha", "1.5"], "alpha must be in [0, 1], got 1.5"),
        (["run", "--alpha", "0"], "add --heads 2 or --two-phase"),
        (["run", "--measure", "nowhere:measure"], "cannot load nowhere:measure: ModuleNotFoundError"),
        (["simulate", "--combine", "nway"], "combine nway goes with measure js or sed"),
        (["simulate", "--heads", "3", "--two-phase"], "two_phase goes with 1 or 2 heads"),
        (["simulate", "--topology", "star"], "topology must be full, ring, regular:D or a file"),
        (["sweep", "--alpha", "0.5,high", "--out", "results"], "alpha must be a number, got 'high'"),
        (["sweep", "--steps", "0", "--out", "results"], "steps 0 trains without end"),
        (["sweep", "--alpha", "1,0", "--out", "results"], "add --heads 2 or --two-phase"),
        (["sweep"], "Missing option '--out'"),
        (["run", "--data", "folder:/nowhere"], "/nowhere"),
        (["run", "--model", "resnet19"], "unknown model 'resnet19'"),
        (["run", "--weights", "none.safetensors"], "no weights file none.safetensors"),
        (["run", "--colour", "red"], "No such option"),
        (["peer", "--id", "0", "--peers", "127.0.0.1:port"], "127.0.0.1:port"),
        (["peer", "--id", "0", "--peers", "127.0.0.1"], "127.0.0.1"),
        (["peer", "--id", "0", "--transport", "zmq", "--peers", "box..local:7001"], "parts of 1 to 63 characters"),
        (["peer", "--id", "0", "--metrics-port", "box..local:9100"], "takes PORT or HOST:PORT"),
        (["peer", "--id", "0", "--discover", "--listen", "box..local:7000"], "parts of 1 to 63 characters"),
        (["status", "--transport", "zmq", "box..local:7001"], "parts of 1 to 63 characters"),
        (["peer", "--id", "7", "--steps", "1"], "--id must be below --clients 3, got 7"),
        (["peer", "--id", "0", "--resume"], "--resume needs --out"),
        (["peer", "--id", "0", "--listen", "0.0.0.0:7000"], "is open to other boxes: give this peer its keys, --certs"),
        (["peer", "--id", "0", "--listen", "[::]:7000"], "or say --insecure where everybody on the network is trusted"),
        (["peer", "--id", "0", "--listen", "box-a:7000"], "--listen box-a:7000 is open to other boxes"),
        (
            ["peer", "--id", "0", "--wait-for", "2"],
            "--wait-for waits for 2 neighbours, and so many can never be there",
        ),
        (
            ["peer", "--id", "0", "--wait-for", "2", "--peers", "127.0.0.1:1"],
            "this peer dials 1, and nobody can dial it",
        ),
        (["peer", "--id", "0", "--sync"], "--sync waits for 2 neighbours, and so many can never be there"),
        (["peer", "--id", "0", "--certs", "nowhere"], "cannot read nowhere/ca.pem: No such file or directory"),
        (["peer", "--id", "0", "--certs", "c", "--insecure"], "certs and insecure exclude one another"),
        (
            ["peer", "--id", "0", "--certs", "c", "--peers", "box-a:7000"],
            "say which peer is to be there: ID@box-a:7000",
        ),
        (["peer", "--id", "0", "--allow", "1,b"], "ids are whole numbers from 0 to 2147483647 with commas between"),
        (["peer", "--id", "0", "--allow", "1", "--peers", "2@box-a:7000"], "--allow 1 would refuse: add 2 to it"),
        (["status", "box-a:7000", "--certs", "c"], "say which peer is to be there: ID@box-a:7000"),
        (["public", "--from", "box-a:7000", "--certs", "c", "-o", "p"], "say which peer is to be there"),
        (["certs", "--ids", "1-3"], "ids are whole numbers from 0"),
        (["simulate", "--device", "cuda:99"], "device cuda:99 is not there"),
        (["simulate", "--clients", "5000"], "too few are left for 5000 clients"),
        (["eval", "--checkpoint", "nothing"], "nothing"),
        (["run", "--config", "nothing.toml"], "cannot read nothing.toml"),
    ],
)
def test_wrong_flag_is_one_line(spawn: Callable[..., Any], flags: list[str], says: str) -> None:
    assert says in fails(spawn(*flags))


BELOW_A_FILE = "cannot make the folder FILE/x: FILE is a file, not a folder; choose another --out"


@pytest.mark.parametrize(
    "command",
    [
        ["split", "--out", "FILE/x"],
        ["certs", "--ids", "0", "--out", "FILE/x"],
        ["public", "FILE", "--classes", "a,b", "-o", "FILE/x/public.safetensors"],
        ["public", "--from", "127.0.0.1:1", "-o", "FILE/x/public.safetensors"],
        ["run", "--out", "FILE/x"],
        ["peer", "--id", "0", "--out", "FILE/x"],
        ["simulate", "--out", "FILE/x"],
        ["sweep", "--out", "FILE/x"],
    ],
    ids=lambda command: command[0],
)
def test_folder_below_a_file_is_named_with_the_file(spawn: Any, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "FILE").touch()
    process = spawn(*command)
    assert fails(process) == f"edgekd: {BELOW_A_FILE}"
    assert len(process.err) == 1
    assert process.out == [], "nothing was begun"


def test_simulation_that_is_refused_changes_no_settings_and_neither_does_one_in_a_peers_folder(
    spawn: Any, tmp_path: Path
) -> None:
    small = ["--model", "mobilenet_v3_small", "--batch", 4, "--public-batch", 4, "--clients", 2]
    assert spawn("simulate", "--limit", 200, "--steps", 1, *small, "--out", "good").wait() == 0
    before = (tmp_path / "good" / "config.toml").read_bytes()
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "config.toml").write_bytes(before)
    (tmp_path / "box" / "checkpoint-00000001.safetensors").touch()
    fails(spawn("simulate", "--data", "folder:nowhere", "--limit", 77, "--out", "good"))
    for command in ("simulate", "run"):
        line = fails(spawn(command, "--limit", 101, "--steps", 1, *small, "--out", "box"))
        assert line.endswith("box holds the checkpoints of a peer; choose another --out")
    assert (tmp_path / "good" / "config.toml").read_bytes() == before
    assert (tmp_path / "box" / "config.toml").read_bytes() == before


def test_keys_of_another_peer_are_refused_and_so_is_a_run_with_any(spawn: Any, tmp_path: Path) -> None:
    assert spawn("certs", "--ids", "0,1").wait() == 0
    line = fails(spawn("peer", "--id", 0, "--certs", "certs/peer-1"))
    assert "the keys in certs/peer-1 are those of peer 1, and this is peer 0" in line
    (tmp_path / "peers.toml").write_text('[exchange]\ncerts = "certs/peer-0"\n')
    assert "without keys: take certs out of the file" in fails(spawn("run", "--config", "peers.toml"))


def test_own_measure_is_tried_before_anything_is_trained(spawn: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def measure(q, z):\n    return (q * (q / z.softmax(-1)).log()).sum(-1)\n")
    for command in ("simulate", "run"):
        process = spawn(command, "--measure", "mine:measure", "--two-phase", "--steps", 100_000)
        assert "measure mine:measure must be finite: its value for teacher [1.0, 0.0, 0.0]" in fails(process)


def test_private_class_that_the_public_file_does_not_know_is_named_with_those_it_knows(
    spawn: Any, tmp_path: Path
) -> None:
    shared = pictures(tmp_path / "shared", "cat", "dog", count=40)
    made = spawn(
        "public", shared / "cat", shared / "dog", "--classes", "cat,dog", "--size", 16, "-o", "public.safetensors"
    )
    assert made.wait() == 0, made.err
    pictures(tmp_path / "own", "cat", "fish")
    line = fails(
        spawn("peer", "--id", 0, "--private", "folder:own", "--public", "public.safetensors", "--weights", "none")
    )
    assert "fish" in line
    assert "cat, dog" in line


def test_empty_folder_is_an_error(spawn: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty" in fails(spawn("simulate", "--data", "folder:empty", "--weights", "none"))


def test_unreadable_picture_is_named_and_skipped_and_only_unreadable_ones_are_an_error(
    spawn: Any, tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "photos", "cat", "dog", count=30)
    (folder / "cat" / "3.png").write_bytes(b"no picture at all")
    small = [
        "--size",
        16,
        "--weights",
        "none",
        "--steps",
        1,
        "--batch",
        4,
        "--public-batch",
        4,
        "--clients",
        2,
        "--iid",
    ]
    fine = spawn("simulate", "--data", "folder:photos", *small)
    assert fine.wait() == 0, fine.err
    assert any("3.png" in line for line in fine.err)
    for picture in folder.glob("*/*.png"):
        picture.write_bytes(b"no picture at all")
    fails(spawn("simulate", "--data", "folder:photos", *small))


def test_weights_of_another_shape_name_the_tensor(spawn: Any, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from torchvision.models import resnet18

    state = {**resnet18().state_dict(), "conv1.weight": torch.zeros(64, 3, 3, 3)}
    save_file(state, tmp_path / "other.safetensors")
    line = fails(spawn("run", "--weights", "other.safetensors"))
    assert "'conv1.weight' is [64, 3, 3, 3] there, [64, 3, 7, 7] needed" in line


def test_port_that_another_peer_holds_is_an_error(spawn: Any, ports: Any, tmp_path: Path) -> None:
    (port,) = ports(1)
    small = ["--limit", 200, "--model", "mobilenet_v3_small", "--batch", 8, "--public-batch", 8, "--steps", 0, "--json"]
    first = spawn("peer", "--id", 0, "--listen", f"127.0.0.1:{port}", *small, "--out", tmp_path / "a")
    first.until_step(1)
    line = fails(spawn("peer", "--id", 1, "--listen", f"127.0.0.1:{port}", *small, "--out", tmp_path / "b"))
    assert str(port) in line
    assert "--listen" in line


def test_checkpoint_with_counts_of_another_version_is_resumed_from(spawn: Any, tmp_path: Path) -> None:
    from edgekd.files.checkpoint import load_checkpoint, save_checkpoint
    from edgekd.files.folders import checkpoints

    small = [
        "--limit",
        200,
        "--model",
        "mobilenet_v3_small",
        "--batch",
        8,
        "--public-batch",
        8,
        "--out",
        tmp_path / "p",
    ]
    first = spawn("peer", "--id", 0, "--steps", 1, *small)
    assert first.wait() == 0, "\n".join(first.err)
    info, state = load_checkpoint(checkpoints(tmp_path / "p")[0])
    counts = {**info.counts, "naps": 3}
    del counts["waits"]
    save_checkpoint(tmp_path / "p", dataclasses.replace(info, counts=counts), state)
    again = spawn("peer", "--id", 0, "--steps", 2, *small, "--resume")
    assert again.wait() == 0, again.err
    assert any("resumed at step 1" in line for line in again.err)


def test_what_cannot_be_evaluated_is_named(spawn: Any, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    pictures(tmp_path / "own", "cat", "dog", count=20)
    small = ["--model", "mobilenet_v3_small", "--batch", 4, "--public-batch", 4, "--weights", "none", "--steps", 1]
    how = ["--iid", "--clients", 2, "--size", 16]
    made = spawn("peer", "--id", 0, "--data", "own", *how, *small, "--out", "box")
    assert made.wait() == 0, made.err
    for name in ("ship", "kitty"):
        folder = pictures(tmp_path / f"with-{name}", "dog", name)
        line = fails(spawn("eval", "--checkpoint", "box", "--eval", folder.name))
        assert f"{folder.name} has a subfolder {name}, which the checkpoint does not know; known: cat, dog" in line
    other = tmp_path / "other.toml"
    other.write_text('[data]\ndata = "folder:with-ship"\nsize = 16\niid = true\nclients = 2\n')
    line = fails(spawn("eval", "--checkpoint", "box", "--config", other))
    said = "the checkpoint knows cat, dog, the data dog, ship; give --eval a folder with the checkpoint's classes"
    assert said in line
    other.write_text('[data]\ndata = "folder:own"\nsize = 16\niid = true\nclients = 5\n')
    line = fails(spawn("eval", "--checkpoint", "box", "--config", other))
    assert "clients was 2, now 5. Give the config.toml of its own run, or --eval folder:PATH" in line
    save_file({"w": torch.ones(3)}, tmp_path / "plain.safetensors")
    torch.save({"w": torch.ones(3)}, tmp_path / "plain.pth")
    for name, says in (
        ("plain.safetensors", "it holds plain weights, no checkpoint of a peer; take one that a peer wrote"),
        ("plain.pth", "it is damaged, or no safetensors file, as checkpoints are"),
    ):
        assert says in fails(spawn("eval", "--checkpoint", name, "--eval", "own"))


def test_peer_that_nobody_taught_says_what_it_would_need(spawn: Any) -> None:
    small = ["--limit", 200, "--model", "mobilenet_v3_small", "--batch", 8, "--public-batch", 8, "--steps", 1]
    alone = spawn("peer", "--id", 0, *small)
    listening = spawn("peer", "--id", 0, *small, "--listen", "127.0.0.1:0")
    for process, said in (
        (alone, "it has trained alone: to learn from others it needs --listen, --peers or --discover"),
        (listening, "arrived; see --wait-for and `edgekd doctor`, which takes the same flags"),
    ):
        assert process.wait() == 0, process.err
        assert process.err[-1].endswith(said)
        assert "it begins with random weights: accuracies near chance" in process.said


def test_classes_that_nobody_is_evaluated_on_are_named(spawn: Any, tmp_path: Path) -> None:
    split = spawn("split", "--limit", 60, "--out", "s")
    assert split.wait() == 0, split.err
    missing = sorted({str(digit) for digit in range(10)} - {folder.name for folder in (tmp_path / "s/eval").iterdir()})
    assert missing
    assert f"s/eval has no picture of {', '.join(missing)}: no accuracy will tell of them" in split.err[-1]


@pytest.mark.parametrize(
    "command",
    [
        ["split", "--clients", 2000, "--out", "new/s2"],
        ["public", "nowhere.png", "--classes", "a,b", "-o", "new/public.safetensors"],
        ["export", "--checkpoint", "nowhere", "-o", "new/model.onnx"],
        ["eval", "--checkpoint", "nowhere", "--html", "new/page.html"],
        ["predict", "a.png", "--checkpoint", "nowhere", "--csv", "new/table.csv"],
        ["simulate", "--data", "folder:nowhere", "--out", "new/run"],
        ["simulate", "--data", "folder:nowhere"],
    ],
    ids=lambda command: command[0],
)
def test_command_that_is_refused_leaves_no_folder(spawn: Any, tmp_path: Path, command: list[object]) -> None:
    fails(spawn(*command))
    assert list(tmp_path.iterdir()) == []
