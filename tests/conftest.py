"""How long properties are searched: `pytest --hypothesis-profile=long` tries 20,000 examples of each.

The long search is for what reads strangers' bytes: test_codec.py, test_protobuf.py, test_messagepack.py.
"""

import pytest
from hypothesis import settings

settings.register_profile("long", max_examples=20_000, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="record the scenarios in tests/scenarios anew")
