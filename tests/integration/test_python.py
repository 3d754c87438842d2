"""All code that is shown to programmers runs: README's, docs/python.md's, the docstrings' examples, the programs."""

import doctest
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import edgekd
import peer
from edgekd.data.datasets import load_group
from edgekd.protocol.messages import Lesson

ROOT = Path(edgekd.__file__).parents[1]
PROGRAMS = sorted((ROOT / "examples").glob("*.py"))
NEEDS = {"onnx_camera.py": "onnxruntime"}


@pytest.fixture
def elsewhere() -> Path:
    """A working folder that holds nothing and cannot be written."""
    folder = Path("/proc/self") if os.geteuid() == 0 else Path("/")  # root may write anywhere but there
    return folder


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_program_runs_without_arguments_in_a_folder_that_cannot_be_written(program: Path, elsewhere: Path) -> None:
    if program.name in NEEDS:
        pytest.importorskip(NEEDS[program.name])
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, program], cwd=elsewhere, env=path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_code_of_the_page_runs_as_it_stands(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile("\n".join(blocks), page, "exec"), names)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, peer.Peer]:
    """A folder with the files that the docstrings' examples use, and the peer that has trained there."""
    folder = tmp_path_factory.mktemp("docstrings")
    gray = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)
    Image.fromarray(gray).save(folder / "photo.png")
    config = edgekd.Config.of(clients=1, limit=100, model="mobilenet_v3_small", batch=8, public_batch=8, steps=3)
    with peer.start(config, id=0, out=folder / "box") as trained:
        trained.wait()
    return folder, trained


EXPORTED = {
    f"{package.__name__}.{name}": getattr(package, name) for package in (edgekd, peer) for name in package.__all__
}
EXPLAINED = {name: each for name, each in EXPORTED.items() if not isinstance(each, str | dict)}
EXPLAINED |= {"edgekd.Config.of": edgekd.Config.of, "edgekd.Config.load": edgekd.Config.load}


@pytest.mark.parametrize("name", EXPLAINED)
def test_exported_name_has_an_example_that_is_true(
    name: str, box: tuple[Path, peer.Peer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, trained = box
    for each in folder.iterdir():
        (tmp_path / each.name).symlink_to(each)
    monkeypatch.chdir(tmp_path)
    own = {key.rpartition(".")[2]: value for key, value in EXPORTED.items()}
    globs = {**own, "edgekd": edgekd, "peer": peer, "math": math, "torch": torch, "box": trained}
    globs |= {"Lesson": Lesson, "load_group": load_group}
    (found,) = doctest.DocTestFinder(recurse=False).find(EXPLAINED[name], name, globs=globs, module=False)
    assert found.examples, f"{name} has no example"
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(found, out=said.append)
    assert not said, "".join(said)
