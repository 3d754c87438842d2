"""The levels of the suite, one marker each, and what holds for all of them.

``pytest -m pure`` and so on run one level; what belongs to a level is said in pyproject.toml, beside its marker.

How long properties are searched: `pytest --hypothesis-profile=long` tries 20,000 examples of each. The long search is
for what reads strangers' bytes: test_codec.py, test_protobuf.py, test_messagepack.py.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("long", max_examples=20_000, deadline=None)

TESTS = Path(__file__).parent
# Of tests/unit, the modules of the level "wire": they open sockets or start processes. All others are pure.
WIRE = {
    *("atomic", "cli", "computing", "connection", "decoding", "dialling", "discovery", "doctor", "door"),
    *("fitted_cache", "greeting", "health", "hub", "joining", "judgement", "kubernetes", "kubernetes_endless", "locks"),
    *("network", "public", "reference", "scanner", "stop", "sweep", "tensors", "tls", "transports", "wire_generated"),
    *("workers", "writable", "zmq"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="record the scenarios in tests/scenarios anew")


@pytest.hookimpl(tryfirst=True)  # before markers are selected by
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if TESTS in item.path.parents:
            item.add_marker(level(item.path))


def level(path: Path) -> str:
    """The marker of the level that a test module belongs to."""
    folder = path.relative_to(TESTS).parts[0]
    if folder == "unit":
        return "wire" if path.stem.removeprefix("test_") in WIRE else "pure"
    return folder


@pytest.fixture(autouse=True)
def _share_of_the_cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test's processes compute on one core each, since other tests and other peers run beside them.

    Threads that wait for one another on cores that they do not have took seven eighths of the suite's processor time.
    """
    if request.node.get_closest_marker("every_core") is None:
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # what `usable_cores` reads
    yield
