"""The levels of the suite, one marker for each, and what all tests share.

``pytest -m pure`` runs one level; the others are wire, integration, faults and deploy. pyproject.toml explains them.

`pytest --hypothesis-profile=long` tries 20,000 examples of each property. The long search is for what reads strangers'
bytes: test_codec.py, test_protobuf.py, test_messagepack.py.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from effects import noted_effects
from hypothesis import settings

settings.register_profile("long", max_examples=20_000, deadline=None)

TESTS = Path(__file__).parent
LEVELS = ("pure", "wire", "integration", "faults", "deploy")
# The modules of tests/unit that open sockets or start processes: the level "wire". All others there are pure.
# fmt: off
WIRE = {
    "atomic", "cli", "computing", "connection", "datasets", "decoding", "dialling", "discovery", "doctor",
    "door", "event_file", "fitted_cache", "greeting", "health", "hub", "joining", "judgement", "kubernetes",
    "kubernetes_endless", "levels", "locks", "network", "public", "public_names", "reference", "scanner",
    "stop", "sweep", "tensors", "tls", "transports", "wire_generated", "workers", "writable", "zmq",
}
# fmt: on


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="record the scenarios in tests/scenarios anew")


def level(path: Path) -> str:
    """The level of a test module, by its folder."""
    folder = path.relative_to(TESTS).parts[0]
    if folder == "unit":
        return "wire" if path.stem.removeprefix("test_") in WIRE else "pure"
    return folder


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m LEVEL``, import no test module of another level, since imports take longer than the pure tests."""
    wanted = config.option.markexpr
    if wanted in LEVELS and TESTS in collection_path.parents and collection_path.suffix == ".py":
        return level(collection_path) != wanted or None
    return None


@pytest.hookimpl(tryfirst=True)  # before ``-m`` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if TESTS in item.path.parents:
            item.add_marker(level(item.path))
            if level(item.path) == "faults" and item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(900))  # some wait three times for their DEADLINE


@pytest.fixture(autouse=True)
def _one_core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each process that a test starts compute on one core, since other tests and other peers run beside it."""
    if request.node.get_closest_marker("every_core") is None:
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # `usable_cores` reads it


@pytest.fixture(autouse=True)
def _pure(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a pure test that opens a network socket or starts a process."""
    if request.node.get_closest_marker("pure") is None:
        yield
        return
    with noted_effects(monkeypatch) as effects:
        yield
    assert not effects, f"a pure test called {', '.join(effects)}; if it must, add its module to WIRE in {__file__}"
