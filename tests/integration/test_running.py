"""Peers that a program starts, in its own process: `peer.start`."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import edgekd
import peer
from edgekd.config import Config
from edgekd.errors import ConfigError, DivergedError, TransientError
from peer.node.errands import Errands

DEADLINE = 120.0  # seconds: far more than any of this takes
SMALL: dict[str, Any] = {"limit": 300, "model": "mobilenet_v3_small", "batch": 8, "public_batch": 8, "threads": 1}


def squared(q: Tensor, z: Tensor) -> Tensor:
    return (q - z.softmax(-1)).square().sum(-1)


def test_two_peers_of_one_program_end_in_lockstep_with_the_weights_of_the_simulation(tmp_path: Path) -> None:
    config = Config.of(**SMALL, clients=2, steps=6, sync=math.inf, eval_every=3)
    with (
        peer.start(config, id=0, listen="127.0.0.1:0", out=tmp_path / "0") as first,
        peer.start(config, id=1, peers=[first.address], out=tmp_path / "1") as second,
    ):
        reports = []
        for progress in second:
            reports.append(progress)
            assert not first.model.training, "asked amid the training, it changes nothing"
        reached = first.wait(DEADLINE), second.wait(DEADLINE)
    expected = edgekd.simulate(config)
    assert [each.weights_sha256 for each in reached] == [each.weights_sha256 for each in expected.peers]
    assert [each.accuracy for each in reached] == [each.accuracy for each in expected.peers]
    assert [each.lessons for each in reached] == [6, 6]
    assert {3, 6} <= {each.accuracy_step for each in reports}
    assert reports[-1] == second.progress
    assert second.accuracy == reached[1].accuracy
    assert all(math.isfinite(each.labels) for each in reports if each.labels is not None)


def test_model_is_a_copy_of_what_the_checkpoint_holds(tmp_path: Path) -> None:
    with peer.start(Config.of(**SMALL, clients=1, steps=3), id=0, out=tmp_path / "box") as alone:
        alone.wait(DEADLINE)
    kept, network = edgekd.load(tmp_path / "box", device="cpu").model.state_dict(), alone.model
    assert all(torch.equal(kept[name], tensor) for name, tensor in network.state_dict().items())
    with torch.no_grad():
        next(network.parameters()).zero_()
    assert not torch.equal(next(network.parameters()), next(alone.model.parameters()))


def test_peer_that_waits_for_neighbours_answers_and_stops(tmp_path: Path) -> None:
    config = Config.of(**SMALL, steps=3, wait_for=1)
    with peer.start(config, id=0, listen="127.0.0.1:0", out=tmp_path / "box") as waiting:
        assert next(iter(waiting)).state == "waiting"
        assert waiting.accuracy is None
        assert waiting.model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
        with pytest.raises(TimeoutError, match=r"peer 0 has not ended within 0\.1 seconds"):
            waiting.wait(0.1)
        waiting.stop()
        assert waiting.wait(DEADLINE).steps == 0
    assert waiting.progress is not None
    assert waiting.progress.state == "stopped"


def test_peer_without_end_is_stopped_at_the_end_of_the_block_and_goes_on_from_its_folder(tmp_path: Path) -> None:
    box = tmp_path / "box"
    config = Config.of(**SMALL, clients=1, steps=0, measure=squared)

    def fails_after_two_steps() -> None:
        with peer.start(config, id=0, out=box) as endless:
            next(progress for progress in endless if progress.step >= 2)
            raise KeyError("of the block")

    with pytest.raises(KeyError, match="of the block"):
        fails_after_two_steps()
    done = json.loads((box / "summary.json").read_text())["peers"][0]["steps"]
    assert done >= 2
    with pytest.raises(ConfigError, match="holds an earlier run: go on from it with --resume"):
        peer.start(Config.of(**SMALL, clients=1), id=0, out=box)
    with pytest.raises(ConfigError, match="measure was object:squared, an object that a Python program had handed in"):
        peer.start(out=box, resume=True)
    again = Config.load(box / "config.toml", measure=squared, steps=done + 2)
    with peer.start(again, out=box, resume=True) as resumed:
        assert (resumed.id, resumed.wait(DEADLINE).steps) == (0, done + 2)


def test_folder_of_a_running_peer_is_in_use(tmp_path: Path) -> None:
    config = Config.of(**SMALL, clients=1, steps=0)
    with peer.start(config, id=0, out=tmp_path / "box"), pytest.raises(TransientError, match="is in use"):
        peer.start(config, id=0, out=tmp_path / "box", resume=True)


@pytest.mark.parametrize(
    ("settings", "options", "says"),
    [
        ({}, {}, "id is needed"),
        ({"clients": 2}, {"id": 2}, "--id must be below --clients 2, got 2"),
        ({"liars": 1, "lie": "flip"}, {"id": 0}, "liars are for `edgekd simulate`"),
        ({"wait_for": 1}, {"id": 0}, "so many can never be there"),
        ({"data": "folder:nowhere"}, {"id": 0}, "there is no folder nowhere"),
        ({}, {"id": 0, "listen": "0.0.0.0:0"}, "is open to other boxes"),
        ({}, {"id": 0, "metrics_port": "x:y:z"}, "--metrics-port takes PORT or HOST:PORT"),
    ],
)
def test_what_keeps_a_peer_from_starting_is_raised_by_start_and_leaves_nothing(
    tmp_path: Path, settings: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        peer.start(Config.of(**{**SMALL, "weights": "none", **settings}), out=tmp_path / "box", **options)
    assert not any(tmp_path.iterdir())


def test_error_of_the_training_reaches_whoever_iterates_or_waits(tmp_path: Path) -> None:
    config = Config.of(**SMALL, clients=1, steps=60, optimiser="sgd", lr=1e30)
    running = peer.start(config, id=0, out=tmp_path / "box")
    with pytest.raises(DivergedError, match="learner 0 has diverged"):
        list(running)
    with pytest.raises(DivergedError):
        running.wait(DEADLINE)
    assert running.model(torch.zeros(1, 3, 32, 32)).shape == (1, 10), "the network can be looked at all the same"


def test_error_of_an_own_measure_reaches_the_caller(tmp_path: Path) -> None:
    calls = []

    def breaks(q: Tensor, z: Tensor) -> Tensor:
        calls.append(len(q))
        if calls.count(8) > 1:
            raise ZeroDivisionError("mine")
        return squared(q, z)

    config = Config.of(**SMALL, clients=2, steps=4, sync=math.inf, linger=0.0, measure=breaks)
    other = Config.of(**SMALL, clients=2, steps=4, sync=5.0, linger=0.0)
    with (
        peer.start(other, id=1, listen="127.0.0.1:0", out=tmp_path / "1") as second,
        pytest.raises(ZeroDivisionError, match="mine"),
        peer.start(config, id=0, peers=second.address, out=tmp_path / "0") as first,
    ):
        first.wait(DEADLINE)


def test_program_that_ends_without_waiting_stops_its_peer_which_keeps_what_it_has_reached(tmp_path: Path) -> None:
    program = (
        "import edgekd, peer\n"
        "config = edgekd.Config.of(limit=300, model='mobilenet_v3_small', batch=8, clients=1, steps=0, threads=1)\n"
        "running = peer.start(config, id=0, listen='127.0.0.1:0', out='box')\n"
        "assert next(p for p in running if p.step > 1).state == 'training'\n"
    )
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "box" / "summary.json").read_text())["peers"][0]["steps"] > 1
    assert list((tmp_path / "box").glob("checkpoint-*.safetensors"))


def test_errand_is_done_by_whoever_asks_once_nobody_else_does_it() -> None:
    errands = Errands()
    errands.close()
    assert errands.ask(lambda: 3) == 3
    with pytest.raises(KeyError):
        errands.ask(lambda: {}["no"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"config": "mine.toml"}, "config must be an edgekd.Config, got str: .*Config.load reads a file"),
        ({"id": "0"}, "id must be a whole number, got '0'"),
        ({"id": True}, "id must be a whole number, got True"),
        ({"listen": 7000}, 'listen must be text, "HOST:PORT", got 7000'),
        ({"peers": [7000]}, "peers must be the addresses .*, got 7000"),
        ({"peers": None}, "peers must be the addresses .*, got None"),
        ({"out": ""}, "out is empty"),
    ],
)
def test_argument_of_another_kind_is_named(
    arguments: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=says):
        peer.start(**{"config": Config.of(**SMALL, clients=1), "id": 0, **arguments})
    assert not [*tmp_path.iterdir()]


def test_id_may_be_a_number_of_numpy(tmp_path: Path) -> None:
    with peer.start(Config.of(**SMALL, clients=1, steps=1), id=np.int64(0), out=tmp_path / "box") as alone:
        assert alone.wait(DEADLINE).steps == 1


UNASKED = """
import time, torch, peer
from edgekd.config import Config

class Late(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layer, self.calls = torch.nn.Linear(3072, classes), 0
    def forward(self, images):
        if self.training and torch.is_grad_enabled():
            self.calls += 1
            if self.calls > 3:
                raise RuntimeError("the camera is gone")
        return self.layer(images.flatten(1))

running = peer.start(Config.of(limit=100, clients=1, steps=50, model=Late, threads=1), id=0, out="box")
while "failed" not in repr(running):
    time.sleep(0.05)
print(running)
"""


def test_error_that_nobody_asked_for_is_shown_and_logged_at_the_end_of_the_program(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(UNASKED)
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert done.stdout.startswith("<Peer 0, failed: ")
    assert "the camera is gone" in done.stdout
    assert "the training of peer 0 had failed, and nobody asked for the result" in done.stderr
