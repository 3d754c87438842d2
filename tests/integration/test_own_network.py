"""A network of one's own in real processes: trained, killed, resumed, used; and never imported on another's word."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from processes import contents

import edgekd
from edgekd.config import read_toml

SMALL = ["--batch", 8, "--public-batch", 8, "--eval-every", 0]
NET = """
import os
from torch import nn

with open({mark!r}, "a") as file:  # whoever imports this leaves a mark
    file.write(f"{{os.getpid()}}\\n")


def make(classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(),
        nn.Linear(72, classes),
    )


class Talking(nn.Sequential):
    def forward(self, images):
        print("forward", flush=True)
        return super().forward(images)


def talking(classes):
    print("making", flush=True)
    return Talking(*make(classes))


def leaving(classes):
    raise SystemExit(0)


def wider(classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(5), nn.Flatten(), nn.Linear(75, classes))


def convolutional(classes):
    return nn.Sequential(nn.Conv2d(3, classes, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""
NOT_ON_A_FILES_WORD = "a network of one's own, and no code is run on a file's word: name the network yourself, --model"


@pytest.fixture
def box(spawn: Any, tmp_path: Path) -> Path:
    """A folder with ``net.py`` and three shards."""
    (tmp_path / "net.py").write_text(NET.format(mark=str(tmp_path / "marks")))
    made = spawn("split", "--data", "digits", "--limit", 300, "--clients", 3, "--gamma", 5, "--out", "shards")
    assert made.wait() == 0, made.err
    return tmp_path


def marks(box: Path) -> list[int]:
    """The processes that have imported ``net.py``."""
    return [int(line) for line in (box / "marks").read_text().split()] if (box / "marks").exists() else []


def files(box: Path, id: int) -> list[object]:
    return ["--private", box / "shards" / f"client-{id}" / "private", "--public", box / "shards" / "public.safetensors"]


def trained(spawn: Any, box: Path, model: str = "net:make", *more: object) -> Path:
    """The folder of a peer that has trained on its own."""
    out = box / f"trained-{model.rpartition(':')[2]}"
    done = spawn("peer", "--id", 0, *files(box, 0), *SMALL, "--steps", 3, "--model", model, "--out", out, *more)
    assert done.wait() == 0, done.err
    return out


def refused(spawn: Any, *arguments: object) -> str:
    """The one line with which a command ends."""
    process = spawn(*arguments)
    assert process.wait() == 1, process.said
    assert "Traceback" not in process.said
    line = str(process.err[-1])
    assert line.startswith("edgekd: ")
    return line


def test_peer_that_was_killed_goes_on_only_once_its_network_is_named_again(spawn: Any, box: Path) -> None:
    run = box / "run"
    begin = ["peer", "--id", 0, *files(box, 0), *SMALL, "--steps", 0, "--checkpoint-every", 3, "--out", run, "--json"]
    first = spawn(*begin, "--model", "net:make")
    first.until_step(8)
    first.kill9()
    before, imported = contents(run), marks(box)
    assert imported == [first.pid]
    assert f"{NOT_ON_A_FILES_WORD} net:make" in refused(spawn, "peer", "--resume", "--out", run)
    assert "the checkpoint is of another network: " in refused(spawn, *begin, "--resume", "--model", "net:wider")
    assert "the checkpoint's model is net:make, this peer's is resnet18" in refused(
        spawn, *begin, "--resume", "--model", "resnet18", "--weights", "none"
    )
    assert contents(run) == before
    assert len(marks(box)) == 2, "of the one that was told net:wider"
    again = spawn("peer", "--resume", "--out", run, "--model", "net:make", "--json")
    again.until_says("resumed at step")
    step = int(str(next(line for line in again.err if "resumed at step" in line)).split()[-1])
    assert step >= 6
    again.until_step(step + 4)
    again.terminate()
    moved = spawn("peer", "--resume", "--out", run, "--model", "./net.py:make", "--steps", 1)
    assert moved.wait() == 0, "it is done, and the same code by another name fits"


def test_group_of_three_different_networks_teach_one_another(spawn: Any, ports: Any, box: Path) -> None:
    third = "timm:mobilenetv4_conv_small_035" if importlib.util.find_spec("timm") else "shufflenet_v2_x0_5"
    models = ["net:make", "mobilenet_v3_small", third]
    addresses = [f"127.0.0.1:{port}" for port in ports(3)]
    peers = []
    for id, (model, address) in enumerate(zip(models, addresses, strict=True)):
        command = ["peer", "--id", id, *files(box, id), *SMALL, "--steps", 8, "--model", model, "--weights", "none"]
        # In lockstep, so that the smallest network does not end before it has heard of the others.
        command += ["--listen", address, "--peers", ",".join(addresses), "--sync", "--heads", 2]
        peers.append(spawn(*command, "--linger", 60, "--out", box / f"peer-{id}"))
    for id, peer in enumerate(peers):
        assert peer.wait() == 0, peer.err
        summary = json.loads((box / f"peer-{id}" / "summary.json").read_text())["peers"][0]
        assert summary["lessons"] > 0
        assert summary["refused"] == {}
        assert len(summary["head_accuracies"]) == 2
    assert marks(box) == [peers[0].pid], "the code of one box runs on that box alone"
    for id, model in enumerate(models):
        named = ["--model", model] if id == 0 else []
        judged = spawn("eval", "--checkpoint", box, "--peer", id, *named, "--eval", box / "shards" / "eval", "--json")
        assert judged.wait() == 0, judged.err
        assert len(json.loads("\n".join(judged.out))["heads"]) == 2


def test_newcomer_takes_no_network_from_its_neighbours(spawn: Any, ports: Any, box: Path) -> None:
    (address,) = ports(1)
    forever = [*SMALL, "--weights", "none", "--steps", 0, "--json"]
    first = spawn(
        "peer", "--id", 0, "--listen", f"127.0.0.1:{address}", *files(box, 0), *forever, "--model", "net:make"
    )
    join = ["peer", "--id", 1, "--peers", f"127.0.0.1:{address}", *files(box, 1)[:2], *forever, "--out", box / "joined"]
    second = spawn(*join, "--model", "mobilenet_v3_small")
    second.until_exchanging()
    for peer in (first, second):
        peer.terminate()
    assert read_toml(box / "joined" / "config.toml")["model"]["model"] == "mobilenet_v3_small"
    assert marks(box) == [first.pid]


def test_commands_that_use_a_checkpoint_run_no_code_that_it_names(spawn: Any, box: Path) -> None:
    run = trained(spawn, box)
    before = marks(box)
    picture = next((box / "shards" / "eval").rglob("*.png"))
    commands: list[list[object]] = [
        ["predict", picture, "--checkpoint", run],
        ["eval", "--checkpoint", run],
        ["export", "--checkpoint", run, "-o", box / "m.safetensors"],
    ]
    for command in commands:
        assert f"{NOT_ON_A_FILES_WORD} net:make" in refused(spawn, *command)
        assert "does not fit net:wider as it is in this version: " in refused(spawn, *command, "--model", "net:wider")
        assert "cannot load net:nothing" in refused(spawn, *command, "--model", "net:nothing")
    assert len(marks(box)) == len(before) + 2 * len(commands), "of those that were told to"
    for command in commands:
        done = spawn(*command, "--model", "net:make")
        assert done.wait() == 0, done.err


@pytest.mark.parametrize("model", ["net:make", "net:convolutional"])
def test_exported_network_does_what_the_network_does(spawn: Any, box: Path, model: str) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs edgekd[export]")
    pytest.importorskip("onnx", reason="needs edgekd[export]")
    run = trained(spawn, box, model)
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in (box / "shards" / "eval").rglob("*.png")][:9]
    images = np.stack(pictures).transpose(0, 3, 1, 2)
    network = edgekd.load(run, model=f"{box}/net.py:{model.partition(':')[2]}", device="cpu")
    expected = network.probabilities(torch.from_numpy(images)).numpy()
    for options, near in ([], 1e-5), (["--precision", "float16"], 2e-3), (["--quantise", "int8"], 0.1):
        done = spawn("export", "--checkpoint", run, "--model", model, "-o", box / "m.onnx", *options)
        assert done.wait() == 0, done.err
        session = runtime.InferenceSession(box / "m.onnx", providers=["CPUExecutionProvider"])
        for some in (images[:1], images):
            assert np.abs(session.run(["probabilities"], {"images": some})[0] - expected[: len(some)]).max() < near
        assert session.get_modelmeta().custom_metadata_map["model"] == model
    done = spawn("export", "--checkpoint", run, "--model", model, "-o", box / "w.safetensors")
    assert done.wait() == 0, done.err
    command = ["peer", "--id", 1, *files(box, 1), *SMALL, "--steps", 1, "--model", model]
    begun = spawn(*command, "--weights", box / "w.safetensors", "--out", box / "from-weights")
    assert begun.wait() == 0, begun.said


def test_run_hands_the_word_of_its_command_to_its_peers_and_a_file_has_none(spawn: Any, box: Path) -> None:
    small = ["--data", "digits", "--limit", 300, "--clients", 2, *SMALL, "--steps", 2]
    done = spawn("run", *small, "--model", "./net.py:make,net:convolutional", "--out", box / "run")
    assert done.wait() == 0, done.err
    kept = read_toml(box / "run" / "config.toml")["model"]["model"]
    assert kept == f"{box}/net.py:make,net:convolutional"
    before = marks(box)
    assert len(before) >= 3, "the run itself, and its two peers"
    (box / "sweep.toml").write_text('[[grid]]\nmodel = { model = ["resnet18", "net:make"] }\n')
    repeat = ["--config", box / "run" / "config.toml"]
    for command in (
        ["run", *repeat, "--out", box / "again"],
        ["simulate", *repeat],
        ["peer", "--id", 0, *repeat],
        ["sweep", *repeat, "--out", box / "swept"],
        ["sweep", "--config", box / "sweep.toml", "--out", box / "swept"],
    ):
        assert NOT_ON_A_FILES_WORD in refused(spawn, *command)
    assert marks(box) == before
    repeated = spawn("simulate", *repeat, "--model", kept, "--out", box / "simulated")
    assert repeated.wait() == 0, repeated.err


def test_cells_of_a_sweep_find_the_network_in_the_working_folder_and_nothing_of_pythons_own(
    spawn: Any, box: Path
) -> None:
    (box / "random.py").write_text("raise ImportError('this is not of Python')")
    small = ["--data", "digits", "--limit", 300, *SMALL, "--steps", 1, "--jobs", 1]
    done = spawn("sweep", *small, "--model", "net:make", "--out", box / "swept", "--baseline")
    assert done.wait() == 0, done.err
    assert all("net:make" in line for line in (box / "swept" / "results.csv").read_text().splitlines()[1:])


def test_network_that_prints_has_stderr_and_results_have_stdout(spawn: Any, box: Path) -> None:
    run = trained(spawn, box, "net:talking", "--json")
    picture = next((box / "shards" / "eval").rglob("*.png"))
    for command in (
        ["predict", picture, "--checkpoint", run],
        ["eval", "--checkpoint", run],
        ["export", "--checkpoint", run, "-o", box / "m.safetensors"],
        ["simulate", "--data", "digits", "--limit", 300, "--clients", 2, *SMALL, "--steps", 1, "--jobs", 2],
    ):
        done = spawn(*command, "--model", "net:talking", "--json")
        assert done.wait() == 0, done.err
        json.loads("\n".join(done.out))
        assert "making" in done.err


def test_peer_whose_network_prints_says_json_alone_on_stdout(spawn: Any, box: Path) -> None:
    command = ["peer", "--id", 0, *files(box, 0), *SMALL, "--steps", 3, "--model", "net:talking", "--out", box / "run"]
    done = spawn(*command, "--json")
    assert done.wait() == 0, done.err
    assert [json.loads(line)["event"] for line in done.out][-1] == "summary"
    assert {"making", "forward"} <= set(done.err)


def test_code_that_would_end_a_command_without_a_word_is_an_error(spawn: Any, box: Path) -> None:
    run = trained(spawn, box)
    (box / "gone.py").write_text("import sys; sys.exit(0)\n")
    picture = next((box / "shards" / "eval").rglob("*.png"))
    for command in (["predict", picture, "--checkpoint", run], ["peer", "--id", 1, *files(box, 1)]):
        line = refused(spawn, *command, "--model", "net:leaving")
        assert line.startswith("edgekd: net:leaving raises RuntimeError: it calls sys.exit(0)")
        line = refused(spawn, *command, "--model", "gone:make")
        assert line.startswith("edgekd: cannot load gone:make: RuntimeError: it calls sys.exit(0)")
    line = refused(spawn, "peer", "--id", 1, *files(box, 1), "--measure", "gone:own", "--out", box / "out")
    assert line.startswith("edgekd: cannot load gone:own: RuntimeError: it calls sys.exit(0)")


def test_mistakes_in_a_network_are_one_line_before_anything_is_started(spawn: Any, box: Path) -> None:
    (box / "net.py").write_text("def make(classes): return classes\n")
    for command in (
        ["peer", "--id", 0, *files(box, 0)],
        ["run", "--data", "digits", "--limit", 300],
        ["simulate", "--data", "digits", "--limit", 300],
    ):
        line = refused(spawn, *command, "--model", "net:make", "--out", box / "out")
        why, _, hint = line.partition(" (")
        assert why == "edgekd: net:make must return a torch.nn.Module, got int"
        assert bool(hint) == (command[0] == "peer"), "a peer's start names the doctor"
        assert not (box / "out" / "peer-0").exists()
