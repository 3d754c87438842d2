"""One line an event: level, peer, step, message."""

import logging
import sys

from edgekd.cli.logs import PeerLines


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
