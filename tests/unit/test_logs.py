"""One line an event: level, peer, step, message; as text, for systemd's journal, as JSON."""

import json
import logging
import sys
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.cli.logs import JournalLines, JsonLines, PeerLines


def test_line_names_level_peer_and_step() -> None:
    lines = PeerLines(3)
    record = logging.LogRecord("edgekd", logging.WARNING, "", 0, "peer %d is up at %s", (1, "box-a:7000"), None)
    assert lines.format(record) == "WARNING peer=3 step=- peer 1 is up at box-a:7000"
    lines.step = lambda: 120
    assert lines.format(record) == "WARNING peer=3 step=120 peer 1 is up at box-a:7000"


def test_message_of_several_lines_and_control_characters_is_one_line() -> None:
    assert PeerLines(0).line("INFO", "a\nb\x1b[31m\tö") == "INFO peer=0 step=- a\\nb\\x1b[31m\\tö"


def test_traceback_of_a_bug_is_kept() -> None:
    try:
        raise KeyError("gone")
    except KeyError:
        record = logging.LogRecord("edgekd", logging.ERROR, "", 0, "a bug", (), sys.exc_info())
    first, *rest = PeerLines(0).format(record).splitlines()
    assert first == "ERROR peer=0 step=- a bug"
    assert rest[-1] == "KeyError: 'gone'"


def bug() -> logging.LogRecord:
    try:
        raise KeyError("gone\nfor good")
    except KeyError:
        return logging.LogRecord("edgekd.x", logging.ERROR, "", 0, "a bug\nin %s", ("x",), sys.exc_info())


def test_journal_gets_the_priority_of_each_line_and_no_other_change() -> None:
    text, journal = PeerLines(3), JournalLines(3)
    for level, number in (("DEBUG", 7), ("INFO", 6), ("WARNING", 4), ("ERROR", 3), ("CRITICAL", 2), ("MINE", 6)):
        assert journal.line(level, "a\nb") == f"<{number}>{text.line(level, 'a' + chr(10) + 'b')}"
    lines = journal.format(bug()).splitlines()
    assert len(lines) > 3
    assert {line[:3] for line in lines} == {"<3>"}
    assert "\n".join(line[3:] for line in lines) == text.format(bug())
    assert journal.message("ERROR", "edgekd: no", KeyError("gone")).splitlines() == [
        "<3>edgekd: no",
        "<3>KeyError: 'gone'",
    ]


@given(st.text(), st.none() | st.integers(0), st.none() | st.integers(0))
def test_json_is_one_object_a_line_with_the_message_as_it_was(text: str, id: int | None, step: int | None) -> None:
    lines = JsonLines(id)
    lines.step = None if step is None else lambda: step
    for said in (lines.line("INFO", text), lines.message("INFO", text)):
        assert len(said.splitlines()) == 1
        assert said.isascii()
        event = json.loads(said)
        assert datetime.fromisoformat(event.pop("time")).utcoffset() == timedelta(0)
        assert event == {"level": "INFO", "logger": "edgekd", "peer": id, "step": step, "message": text}


def test_json_has_the_traceback_of_a_bug_in_its_line() -> None:
    lines = JsonLines(0)
    record = bug()
    (said,) = lines.format(record).splitlines()
    event = json.loads(said)
    assert (event["message"], event["logger"], event["level"]) == ("a bug\nin x", "edgekd.x", "ERROR")
    assert datetime.fromisoformat(event["time"]).timestamp() == pytest.approx(record.created, abs=0.001)
    assert event["traceback"].startswith("Traceback (most recent call last):\n")
    assert json.loads(lines.message("ERROR", "edgekd: no", KeyError("gone")))["traceback"] == "KeyError: 'gone'"
