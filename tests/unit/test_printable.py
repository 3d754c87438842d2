"""What came from outside reaches a terminal as text alone: one line, no escape codes, no markup."""

import ast
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgekd
from edgekd.cli import status
from edgekd.cli.tables import plain_console
from edgekd.printable import Lines, printable

HOSTILE = "cat\x1b]0;owned\x07\nINFO peer=0 step=9 forged\u202e\udce9\x7f"
SHOWN = "cat\\x1b]0;owned\\x07\\nINFO peer=0 step=9 forged\\u202e\\udce9\\x7f"


@pytest.mark.parametrize("text", ["", "cat", "größer ± 猫", "a 'quoted' \\n", "[red]:smile:"])
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_what_cannot_be_printed_is_shown_by_its_number() -> None:
    assert printable(HOSTILE) == SHOWN


@given(st.text(alphabet=st.characters()), st.integers(4, 40))
def test_every_text_becomes_one_printable_line_of_the_length_asked_for(text: str, longest: int) -> None:
    assert printable(text).isprintable()
    assert printable(text, longest).isprintable()
    assert len(printable(text, longest)) <= longest


def test_log_record_is_one_line_and_a_traceback_shows_no_escape_code() -> None:
    try:
        raise KeyError("a\x1b[31m")
    except KeyError as error:
        record = logging.LogRecord("edgekd", logging.ERROR, "", 0, "%s", (HOSTILE,), (KeyError, error, None))
    first, *rest = Lines().format(record).splitlines()
    assert first == SHOWN
    assert all(line.isprintable() for line in rest)


def test_commands_print_through_say_unless_they_print_no_text_of_others() -> None:
    """What is printed as it is shows JSON or lines that are made of numbers."""
    bare = {
        f"{file.name}: {ast.unparse(node.args[0])}"
        for file in (Path(edgekd.__file__).parent / "cli").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "click.echo", "say_lines")
    }
    assert bare == {
        "__init__.py: ctx.get_help()",
        "export.py: json.dumps(content, indent=2)",
        "lines.py: printable(text)",
        "lines.py: text",
        "logs.py: _lines.message(level, message, error)",  # as text it is printable, and JSON escapes the rest
        "predict.py: json.dumps(content, indent=2)",
        "simulate.py: '\\n'.join(exchange_lines(summary.peers))",
        "simulate.py: json.dumps(summary.to_mapping(), indent=2)",
        "status.py: json.dumps(found, indent=2)",
    }


def test_status_shows_markup_as_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    neighbour = {
        "id": 1,
        "address": "[fd00::6]:7000",
        "up": True,
        "step": 3,
        "age": 1,
        "replaced": 0,
        "bytes_sent": 0,
        "bytes_received": 0,
        "disagreement": None,
    }
    known = {"id": 0, "step": 3, "steps": 9, "round": 2, "accuracy": 0.5, "bytes_sent": 1, "bytes_received": 1}
    known |= {"refused": {"[/nonsense]": 1}, "neighbours": [neighbour], "failing": ("[b]this[/b]",)}
    peer = {**status.NOTHING, "up": True, **known}
    status.print_table(
        [
            {**peer, "address": "[fd00::5]:7000", "state": "[link=evil]on[/link]"},
            {**status.NOTHING, "address": "[::1]:7000", "up": False, "error": "cannot reach [::1]:7000:\n\x1b[2J"},
        ],
        plain_console(),
    )
    out = capsys.readouterr().out
    for text in ("[fd00::5]:7000", "[link=evil]on[/link]", "[/nonsense] 1", "[b]this[/b]", "[::1]:7000:\\n\\x1b[2J"):
        assert text in out, out
