"""Commands that read folders of pictures: worker processes, the cache, a full disk, and Ctrl-C while they decode."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekd.data.decoding import WORTH
from edgekd.data.fitted_cache import FILE
from edgekd.workers import at_once

SMALL = ["--model", "mobilenet_v3_small", "--batch", 8, "--public-batch", 8, "--weights", "none", "--eval-every", 0]
STEPS = ["--steps", 3]
CORES = at_once(1)


def write_pictures(folder: Path, number: int, seed: int) -> None:
    """JPEGs of two classes, all different."""
    rng = np.random.default_rng(seed)
    for name, mean in (("dark", 60), ("light", 180)):
        (folder / name).mkdir(parents=True)
        for each in range(number):
            pixels = rng.integers(mean - 40, mean + 40, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{each:02}.jpg", quality=90)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of two boxes, ``0`` and ``1``, of 40 pictures each. Not to be changed."""
    root = tmp_path_factory.mktemp("boxes")
    for box in range(2):
        write_pictures(root / str(box), 20, box)
    return root


@pytest.fixture
def box(pictures: Path, spawn: Any, tmp_path: Path) -> Path:
    """A copy of the folders, and a public file."""
    shutil.copytree(pictures, tmp_path, dirs_exist_ok=True)
    shared = [tmp_path / "0" / "dark", tmp_path / "1" / "light"]
    made = spawn("public", *shared, "--classes", "dark,light", "--size", 32, "-o", tmp_path / "public.safetensors")
    assert made.wait() == 0, made.err
    return tmp_path


def peer(box: Path, out: str, *more: object, id: int = 0) -> list[object]:
    files = ["--private", box / str(id), "--public", box / "public.safetensors"]
    return ["peer", "--id", id, *files, *SMALL, *STEPS, "--out", box / out, *more]


def weights(folder: Path) -> list[str]:
    summary = json.loads((folder / "summary.json").read_text())
    return [peer["weights_sha256"] for peer in summary["peers"]]


def said(process: Any, text: str) -> list[str]:
    return [line for line in process.err if text in line]


def shares_the_cores(pid: str) -> bool:
    """Whether the environment of a peer says that two peers share the cores."""
    with contextlib.suppress(FileNotFoundError):
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return f"LOKY_MAX_CPU_COUNT={at_once(2)}".encode() in variables
    return False


# -- the cache ---------------------------------------------------------------------------------------------------------


def test_peer_learns_the_same_with_a_cold_a_warm_and_a_ruined_cache_as_without(spawn: Any, box: Path) -> None:
    assert spawn(*peer(box, "without")).wait() == 0
    for start, found in (("cold", 0), ("warm", 40), ("ruined", 0), ("again", 40)):
        if start == "ruined":
            (box / "cache" / FILE).write_bytes(b"rubbish" * 1000)
        process = spawn(*peer(box, start, "--cache", box / "cache"))
        assert process.wait() == 0, process.err
        assert said(process, f"INFO peer=0 step=- {found} of 40 pictures were in the cache"), process.err
        assert bool(said(process, "is damaged: it is made anew")) == (start == "ruined")
        assert weights(box / start) == weights(box / "without")


def test_resumed_peer_and_eval_take_the_cache_of_the_settings(spawn: Any, box: Path, tmp_path: Path) -> None:
    assert spawn(*peer(box, "run", "--cache", "cache")).wait() == 0
    resumed = spawn("peer", "--resume", "--out", box / "run", "--steps", 4)
    assert resumed.wait() == 0, resumed.err
    assert said(resumed, f"40 of 40 pictures were in the cache {tmp_path / 'cache'}")
    (box / "cache" / FILE).unlink()
    judged = spawn("eval", "--checkpoint", box / "run", "--json")
    assert judged.wait() == 0, judged.err
    assert (box / "cache" / FILE).is_file()


def test_two_peers_share_a_cache_at_once(spawn: Any, box: Path, ports: Callable[[int], list[int]]) -> None:
    where = [f"127.0.0.1:{port}" for port in ports(2)]

    def start(out: str) -> list[Any]:
        listens = [["--listen", where[id], "--peers", where[1 - id], "--wait-for", 1] for id in range(2)]
        group = [spawn(*peer(box, f"{out}-{id}", "--cache", box / "cache", *listens[id], id=id)) for id in range(2)]
        for process in group:
            assert process.wait() == 0, process.err
        return group

    start("first")
    for process in start("second"):
        assert said(process, "40 of 40 pictures were in the cache")
        assert not said(process, "WARNING")


def test_run_and_simulation_share_a_cache_and_learn_as_without_one(spawn: Any, box: Path) -> None:
    settings = [*SMALL, *STEPS, "--data", box / "0", "--size", 32, "--clients", 2, "--iid"]
    without = spawn("simulate", *settings, "--out", box / "without")
    assert without.wait() == 0, without.err
    run = spawn("run", *settings, "--sync", "--cache", box / "cache", "--out", box / "run")
    run.until(lambda p: sum(map(shares_the_cores, p.children())) == 2)
    assert run.wait() == 0, run.err
    assert said(run, "of 4 pictures were in the cache")  # the public ones, or those to evaluate on
    file = (box / "cache" / FILE).stat()
    simulated = spawn("simulate", *settings, "--cache", box / "cache", "--out", box / "with")
    assert simulated.wait() == 0, simulated.err
    assert weights(box / "run") == weights(box / "with") == weights(box / "without")
    assert (box / "cache" / FILE).stat().st_mtime_ns == file.st_mtime_ns, "all of them were there"


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/proc/mounts").is_file(), reason="mounts a small disk")
def test_full_disk_costs_the_cache_and_no_start(spawn: Any, box: Path) -> None:
    disk = box / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60k", "none", str(disk)], capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        assert spawn(*peer(box, "without")).wait() == 0
        process = spawn(*peer(box, "full", "--cache", disk))
        assert process.wait() == 0, process.err
        assert said(process, f"WARNING peer=0 step=- cannot use the cache {disk}: database or disk is full; going on")
        assert weights(box / "full") == weights(box / "without")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# -- processes ---------------------------------------------------------------------------------------------------------


@pytest.mark.every_core
@pytest.mark.skipif(CORES < 2, reason="with one core there are no workers")
def test_peer_with_much_to_decode_learns_what_one_process_would(spawn: Any, box: Path) -> None:
    assert spawn(*peer(box, "few")).wait() == 0
    for file in sorted((box / "0").rglob("*.jpg"))[:4]:
        os.truncate(file, WORTH)  # what follows a picture is not read, nor on the disk
    process = spawn(*peer(box, "much"))
    assert process.wait() == 0, process.err
    assert weights(box / "much") == weights(box / "few")
    assert not said(process, "WARNING")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 names of one photo of 12 megapixels: to decode them takes some ten seconds."""
    root = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(0).integers(90, 166, (750, 1000, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((4000, 3000)).save(root / "photo.jpg", quality=95)
    for name in ("dark", "light"):
        (root / "folder" / name).mkdir(parents=True)
        for number in range(300):
            os.link(root / "photo.jpg", root / "folder" / name / f"{number:03}.jpg")
    return root / "folder"


def runs(pid: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def busy(pid: str) -> bool:
    """Whether a process has had half a second of a core: it does more than begin."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])
        return ticks / os.sysconf("SC_CLK_TCK") > 0.5
    return False


@pytest.mark.every_core
@pytest.mark.skipif(CORES < 2, reason="with one core there are no workers")
@pytest.mark.parametrize("command", ["peer", "simulate", "split", "public"])
def test_ctrl_c_while_pictures_are_decoded_leaves_no_process_and_no_traceback(
    spawn: Any, box: Path, photos: Path, command: str
) -> None:
    arguments: dict[str, list[object]] = {
        "peer": peer(box, "run", "--private", photos, "--cache", box / "cache"),
        "simulate": ["simulate", *SMALL, *STEPS, "--data", photos, "--out", box / "run"],
        "split": ["split", "--data", photos, "--out", box / "run"],
        "public": ["public", photos / "dark", "--classes", "dark,light", "-o", box / "new.safetensors"],
    }
    process = spawn(*arguments[command])
    process.until(lambda p: any(map(busy, p.children())))
    children = process.children()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    assert process.wait() == (0 if command == "peer" else 130)
    deadline = time.monotonic() + 10  # a peer leaves at once; its workers see that it has gone
    while any(map(runs, children)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(children) >= 2
    assert "Traceback" not in process.said
    assert not (box / "new.safetensors").exists()
