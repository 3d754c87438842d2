"""What pip does with a torch, a torchvision and a numpy that are there before edgekd: real pip, empty wheels."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from stand_ins import write_wheel

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
BOUNDS = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
NEWEST = {"torch": "2.15.0", "torchvision": "0.30.0", "numpy": "2.5.5"}


def pip(*arguments: str) -> None:
    """Run pip, without the settings of this machine, which may name other indexes."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [sys.executable, "-m", "pip", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]


def after_install(folder: Path, there: dict[str, str], bounds: list[str]) -> dict[str, str]:
    """The versions after `pip install edgekd` in an environment with the packages of `there`; the index has newer ones.

    Args:
        folder: an empty folder.
        there: by name, the versions of the packages that are installed before.
        bounds: the requirements of edgekd.
    """
    index, venv = folder / "index", folder / "venv"
    index.mkdir()
    wheels = [write_wheel(index, name, version) for name, version in there.items()]
    for requirement in map(Requirement, bounds):
        write_wheel(index, requirement.name, NEWEST.get(requirement.name, "100.0"))
        for bound in requirement.specifier:
            if bound.operator == ">=" and requirement.name not in NEWEST:  # where there is an upper bound, too
                write_wheel(index, requirement.name, bound.version)
    write_wheel(index, "edgekd", "0.1.0", bounds)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=120)
    offline = ["--python", str(venv / "bin/python"), "install", "--quiet", "--no-index", f"--find-links={index}"]
    pip(*offline, *map(str, wheels))
    pip(*offline, "edgekd")
    seen = f"from importlib.metadata import version\nfor name in {list(there)}: print(version(name))"
    said = subprocess.run([venv / "bin/python", "-c", seen], capture_output=True, text=True, check=True, timeout=60)
    return dict(zip(there, said.stdout.split(), strict=True))


@pytest.mark.parametrize(
    "there",
    [
        {"torch": "2.3.0a0+nv24.3", "torchvision": "0.18.0a0+nv24.3", "numpy": "1.26.4"},
        {"torch": "2.3.1", "torchvision": "0.18.1", "numpy": "1.26.4"},
    ],
    ids=["a vendor's", "the lowest"],
)
def test_versions_within_the_bounds_stay(tmp_path: Path, there: dict[str, str]) -> None:
    assert after_install(tmp_path, there, BOUNDS) == there


def test_bound_without_pre_releases_would_replace_a_vendors_torch(tmp_path: Path) -> None:
    there = {"torch": "2.3.0a0+nv24.3"}
    assert after_install(tmp_path, there, ["torch>=2.3"]) == {"torch": NEWEST["torch"]}
