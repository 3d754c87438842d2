"""The names that `edgekd` and `peer` export: exactly these, with type hints, and imported only when they are used.

Their docstrings' examples run in tests/integration/test_python.py.
"""

import subprocess
import sys
from pathlib import Path

import pytest

import edgekd
import peer
from edgekd.config import read_toml

EDGEKD = [
    "MEASURES",
    "Config",
    "DataConfig",
    "DistillConfig",
    "ExchangeConfig",
    "ImageDataset",
    "Learner",
    "ModelConfig",
    "Predictor",
    "Simulated",
    "SimulationConfig",
    "TrainConfig",
    "__version__",
    "dissimilarity",
    "load",
    "partition",
    "simulate",
]
PEER = ["Peer", "Progress", "start"]


@pytest.mark.parametrize(("package", "names"), [(edgekd, EDGEKD), (peer, PEER)], ids=["edgekd", "peer"])
def test_exported_names_are_exactly_these(package: object, names: list[str]) -> None:
    assert package.__all__ == names  # type: ignore[attr-defined]
    assert dir(package) == sorted(names)
    assert all(getattr(package, name) is not None for name in names)


@pytest.mark.parametrize("package", [edgekd, peer], ids=["edgekd", "peer"])
def test_other_name_is_an_attribute_error(package: object) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Trainer'"):
        package.Trainer  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("package", ["edgekd", "peer"])
def test_package_says_that_it_is_typed_and_its_wheel_does_too(package: str) -> None:
    root = Path(edgekd.__file__).parents[1]
    assert (root / package / "py.typed").is_file()
    setuptools = read_toml(root / "pyproject.toml")["tool"]["setuptools"]
    assert "py.typed" in setuptools["package-data"][package]


def test_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert edgekd.__version__ == version("edgekd")


def test_importing_both_and_making_a_config_loads_no_torch() -> None:
    code = "import sys, edgekd, peer; edgekd.Config.of(measure='sed', steps=50); print('torch' in sys.modules)"
    path = str(Path(edgekd.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], cwd=path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
