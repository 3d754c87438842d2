"""Curves for TensorBoard: a real peer writes them, they are read back by TensorBoard, and equal ``metrics.jsonl``."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from disks import small_disk
from event_curves import curves, written

from edgekd.files.folders import checkpoints
from peer.node.recorder import FLUSH_EVERY

SMALL = ["--data", "digits", "--limit", 300, "--clients", 2, "--model", "mobilenet_v3_small", "--threads", 1]
SMALL += ["--batch", 8, "--public-batch", 8, "--eval-every", 5]


def test_without_tensorboard_one_line_says_what_to_install(tmp_path: Path) -> None:
    there = [path for path in sys.path if path]
    absent = f"import sys; sys.path[:] = {there!r}; sys.modules['tensorboard'] = None"
    absent += "; from edgekd.cli import main; main()"
    for command in (["peer", "--id", "0"], ["run"]):
        done = subprocess.run(
            [sys.executable, "-c", absent, *command, "--tensorboard"], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 1
        assert done.stderr == "edgekd: --tensorboard needs TensorBoard: pip install 'edgekd[tensorboard]'\n"
        assert [path.name for path in tmp_path.iterdir()] in ([], ["runs"])


def test_a_killed_peer_goes_on_in_its_curves_and_no_step_comes_twice(spawn: Any, ports: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs edgekd[tensorboard]")
    first, second = (f"127.0.0.1:{port}" for port in ports(2))
    both = [*SMALL, "--wait-for", 1, "--json", "--linger", 600]
    mine = ["peer", "--id", 0, "--listen", first, *both, "--out", tmp_path / "p", "--tensorboard"]
    mine += ["--checkpoint-every", 8, "--steps", 60]
    spawn("peer", "--id", 1, "--listen", second, "--peers", first, *both, "--steps", 100_000)
    peer = spawn(*mine)
    peer.until_step(25)
    peer.kill9()
    assert checkpoints(tmp_path / "p")
    before = curves(tmp_path / "p")
    assert before == written(tmp_path / "p" / "metrics.jsonl")
    assert len(before["loss/labels"]) >= 20
    again = spawn(*mine, "--resume")
    again.until(lambda p: any(event["state"] == "lingering" for event in p.events))
    again.terminate()
    after = curves(tmp_path / "p")
    assert after == written(tmp_path / "p" / "metrics.jsonl")
    steps = [step for step, _ in after["loss/labels"]]
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (1, 60)
    assert len(steps) > 60 - FLUSH_EVERY, "a kill costs those that were not written yet"
    assert after["loss/distil"]
    assert len(list((tmp_path / "p").glob("events.out.tfevents.*"))) == 2


def test_every_peer_of_a_run_has_curves(spawn: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs edgekd[tensorboard]")
    run = spawn("run", *SMALL, "--steps", 12, "--tensorboard", "--out", tmp_path / "run", "--json", forked_peers=2)
    assert run.wait() == 0, run.err
    for id in range(2):
        folder = tmp_path / "run" / f"peer-{id}"
        found = curves(folder)
        assert found == written(folder / "metrics.jsonl")
        assert [step for step, _ in found["loss/labels"]] == list(range(1, 13))


def test_full_disk_ends_no_training_and_is_told_of(spawn: Any, ports: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs edgekd[tensorboard]")
    with small_disk(tmp_path / "disk", "300k") as disk:
        (port,) = ports(1)
        address = f"127.0.0.1:{port}"
        often = ["--tensorboard", "--checkpoint-every", 0, "--steps", 0, "--json", "--out", disk / "p"]
        peer = spawn("peer", "--id", 0, "--listen", address, *SMALL, *often)
        peer.until_step(11)  # the file is there
        with (disk / "filler").open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(bytes(4096))
                except OSError:
                    break
        peer.until(lambda p: "tensorboard" in p.last.get("failing", ()))
        asked = spawn("status", address)
        assert asked.wait() == 0, asked.err
        assert "tensorboard" in asked.out[-1]
        step = peer.last["step"]
        peer.until_step(step + 20)
        (disk / "filler").unlink()
        peer.until(lambda p: not p.last["failing"])
        step = peer.last["step"]
        peer.until_step(step + 20)
        peer.kill9()
        found = curves(disk / "p")
        assert found == written(disk / "p" / "metrics.jsonl")
        assert found["loss/labels"][-1][0] >= step
        assert any("No space left on device; training goes on" in line for line in peer.err)
