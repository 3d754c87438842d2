"""Each name of a measure, a combination, a lie or an encoding has one entry in one table, checked at import."""

import importlib.util
import re
from collections.abc import Sequence
from enum import Enum
from types import ModuleType

import pytest

from edgekd import names
from edgekd.config.exchange_settings import ExchangeConfig
from edgekd.losses import combinations, measures
from edgekd.names import check_entries
from edgekd.protocol import encodings, messages
from edgekd.protocol.messages import Asked, Encoding, Parting
from edgekd.simulation import lies
from peer.wire import protobuf


def import_anew(module: ModuleType) -> None:
    """Run the code of a module once more, in a module of its own."""
    assert module.__file__ is not None
    spec = importlib.util.spec_from_file_location("a_copy", module.__file__)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def with_one_more(names: type[Enum]) -> object:
    return Enum(names.__name__, {**{each.name: each.value for each in names}, "NEW": "new"}, type=str)


@pytest.mark.parametrize(
    ("module", "listed"),
    [(measures, "MEASURE_NAMES"), (combinations, "COMBINATION_NAMES"), (lies, "LIE_NAMES")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_name_without_a_function_fails_at_import(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, listed: str
) -> None:
    import_anew(module)
    monkeypatch.setattr(names, listed, (*getattr(names, listed), "new"))
    with pytest.raises(RuntimeError, match=r"must have one entry for each of .*'new'"):
        import_anew(module)


def test_encoding_without_a_codec_fails_at_import(monkeypatch: pytest.MonkeyPatch) -> None:
    import_anew(encodings)
    monkeypatch.setattr(messages, "Encoding", with_one_more(Encoding))
    with pytest.raises(RuntimeError, match=re.escape("encodings.CODECS must have one entry for each of")):
        import_anew(encodings)


@pytest.mark.parametrize("enumeration", [Encoding, Parting, Asked])
def test_member_without_a_number_in_the_proto_file_fails_at_import(
    monkeypatch: pytest.MonkeyPatch, enumeration: type[Enum]
) -> None:
    import_anew(protobuf)
    monkeypatch.setattr(messages, enumeration.__name__, with_one_more(enumeration))
    with pytest.raises(RuntimeError, match=f"{enumeration.__name__} of the proto file must have one entry for each"):
        import_anew(protobuf)


@pytest.mark.parametrize("found", [[], ["a"], ["a", "b", "c"], ["b", "a"], ["a", "a", "b"]])
def test_entries_too_few_too_many_twice_or_in_another_order_are_refused(found: Sequence[str]) -> None:
    check_entries("table", ["a", "b"], ["a", "b"])
    with pytest.raises(RuntimeError, match=re.escape("table must have one entry for each of ['a', 'b']")):
        check_entries("table", found, ["a", "b"])


def test_help_of_the_encodings_names_each_one() -> None:
    (encoding,) = (field for field in ExchangeConfig.__dataclass_fields__.values() if field.name == "encoding")
    for each in Encoding:
        assert each.value in encoding.metadata["help"], each
