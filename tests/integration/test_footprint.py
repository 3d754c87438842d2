"""What a box never loads: a peer, and the commands beside it, need nothing of what only reports are made with."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgekd.data.public import make_public

HEAVY = {"sklearn", "scipy", "matplotlib", "pandas"}
SMALL = ["--model", "mobilenet_v3_small", "--weights", "none", "--batch", "4", "--public-batch", "4", "--threads", "1"]
WITH_MODULES = """
import sys
from edgekd.cli import main
try:
    main(sys.argv[1:])
finally:
    print("loaded", *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""
Loaded = Callable[..., set[str]]


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    """Run ``edgekd ARGUMENTS...`` to its end; the packages that it has loaded. It must end with `code`."""

    def run(*arguments: str, code: int = 0) -> set[str]:
        path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", WITH_MODULES, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return set(done.stderr.rpartition("\nloaded ")[2].split())

    return run


@pytest.fixture
def box(tmp_path: Path) -> list[str]:
    """The flags of a box with its own pictures and a public file."""
    rng = np.random.default_rng(0)
    for name in ("dark", "light"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for each in range(10):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{each}.png")
    images = torch.from_numpy(rng.integers(0, 256, (8, 3, 32, 32), dtype=np.uint8))
    make_public(images, ("dark", "light"), "crop+flip-each").save(tmp_path / "public.safetensors")
    return ["--private", "folder:pictures", "--public", "public.safetensors", *SMALL]


def test_peer_and_predict_load_nothing_that_only_reports_need(loaded: Loaded, box: list[str]) -> None:
    peer = loaded("peer", "--id", "0", *box, "--listen", "127.0.0.1:0", "--steps", "2", "--out", "run")
    assert {"torch", "torchvision", "grpc"} <= peer
    assert not peer & HEAVY
    assert not loaded("predict", "pictures", "--checkpoint", "run") & HEAVY


def test_doctor_and_status_load_nothing_that_only_reports_need(loaded: Loaded, box: list[str]) -> None:
    doctor = loaded("doctor", "--id", "0", *box)
    assert "torch" in doctor
    assert not doctor & HEAVY
    status = loaded("status", "127.0.0.1:1", code=1)
    assert "grpc" in status
    assert not status & {*HEAVY, "torch", "torchvision"}


def test_peer_that_trains_on_the_digits_loads_no_scikit_learn(loaded: Loaded) -> None:
    peer = loaded("peer", "--id", "0", "--data", "digits", "--limit", "60", *SMALL, "--steps", "1", "--out", "run")
    assert "torch" in peer
    assert not peer & HEAVY
