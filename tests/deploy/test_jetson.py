"""deploy/Dockerfile.jetson upon an image that has a torch, a torchvision and a numpy of its own: none is replaced.

The torch is a stand-in of the version that NVIDIA's build for a Jetson has: such a build runs on a Jetson alone.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import DEADLINE, docker, need_engine
from stand_ins import write_wheel

BASE, IMAGE = "edgekd-test-jetson-base", "edgekd-test-jetson"
FOUND = (
    "import hashlib, importlib.util\n"
    "for name in ('torch', 'torchvision', 'numpy'):\n"
    "    file = importlib.util.find_spec(name).origin\n"
    "    print(name, file, hashlib.sha256(open(file, 'rb').read()).hexdigest())\n"
)

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2 * DEADLINE)]


@pytest.fixture
def base(tmp_path: Path) -> Iterator[str]:
    """An image as NVIDIA's: with PyTorch, and with constraints of its own that edgekd's dependencies do not fulfil."""
    need_engine()
    wheels = [write_wheel(tmp_path, "torch", "2.3.0a0+nv24.3"), write_wheel(tmp_path, "torchvision", "0.18.0a0+nv24.3")]
    (tmp_path / "constraint.txt").write_text("protobuf==4.24.4\n")
    (tmp_path / "Dockerfile").write_text(
        "FROM python:3.11-slim\nCOPY . /wheels\n"
        f"RUN pip install --no-cache-dir numpy==1.26.4 {' '.join(f'/wheels/{wheel.name}' for wheel in wheels)}\n"
        "ENV PIP_CONSTRAINT=/wheels/constraint.txt\n"
    )
    docker("build", "-t", BASE, str(tmp_path))
    yield BASE
    docker("image", "rm", "--force", IMAGE, BASE)


def test_the_images_own_torch_and_numpy_are_the_same_files_afterwards(base: str) -> None:
    docker("build", "-f", "deploy/Dockerfile.jetson", "--build-arg", f"BASE={base}", "-t", IMAGE, ".")
    run = ["run", "--rm", "--network", "none", "--read-only"]
    before = docker(*run, "--entrypoint", "python3", base, "-c", FOUND)
    assert [line.split()[0] for line in before.splitlines()] == ["torch", "torchvision", "numpy"]
    assert docker(*run, "--entrypoint", "python3", IMAGE, "-c", FOUND) == before
    assert docker(*run, IMAGE, "doctor", "--constraints").splitlines() == [
        "torch==2.3.0a0+nv24.3",
        "torchvision==0.18.0a0+nv24.3",
        "numpy==1.26.4",
    ]
    assert docker(*run, "--entrypoint", "id", IMAGE, "-un") == "edgekd\n"
    assert "Usage: edgekd" in docker(*run, IMAGE)
