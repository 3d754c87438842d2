"""What a terminal shows: tables that fit it, without a number that is cut, and lines that do not cut through them."""

import contextlib
import io
import logging
import os
import pty
import random
import re
import signal
import sys
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from edgekd.cli import bars, peer, progress
from edgekd.cli.curve import MOST, WIDTH, Curve
from edgekd.cli.logs import PeerLines
from edgekd.cli.status import print_table
from edgekd.cli.tables import results_table
from edgekd.files.summary import PeerSummary, Summary
from edgekd.protocol.messages import Training

PROGRESS = SimpleNamespace(
    id=1,
    state="lingering",
    step=1234,
    steps=20000,
    labels=0.1234,
    distil=0.0123,
    up=2,
    accuracy=0.987,
    accuracy_step=1200,
    evaluation_samples=180,
    age=3,
    bytes_sent=123_456_789,
    bytes_received=987_654_321,
    seconds=60.0,
    first_step=0,
)
PEERS = tuple(
    PeerSummary(id=id, accuracy=0.912, own_accuracy=0.9, steps=5, private_samples=398, evaluation_samples=180)
    for id in range(3)
)
TOGETHER = Summary(peers=PEERS, baseline=Summary(peers=PEERS), balanced=Summary(peers=PEERS), pooled=0.97)
NEIGHBOUR = {"id": 2, "up": True, "age": 12, "disagreement": 0.25, "replaced": 3}
STATUS = {
    "address": "127.0.0.1:17000",
    "up": True,
    "id": 0,
    "state": "training",
    "step": 1234,
    "steps": 20000,
    "round": 1234,
    "accuracy": 0.987,
    "bytes_sent": 123_456_789,
    "bytes_received": 987_654_321,
    "refused": {"busy": 12, "oversized": 3},
    "neighbours": [NEIGHBOUR],
    "loss_labels": 0.1234,
    "loss_distil": 0.0123,
    "lessons": 1200,
    "failing": ("checkpoint", "metrics"),
    "evaluation_images": 180,
    "first_step": 0,
}


def live(console: Console) -> None:
    screen = progress.Screen("2 peers teach one another")
    screen._console = console
    screen._peers = {1: progress._Peer(PROGRESS)}
    screen._peers[1].curve.add(PROGRESS.accuracy)
    console.print(screen._table())


def results(console: Console) -> None:
    console.print(results_table(TOGETHER, console))


def status(console: Console) -> None:
    print_table([STATUS], console)


def shown(show: Any, width: int, *, terminal: bool = True) -> list[str]:
    text = io.StringIO()
    show(Console(file=text, width=width, force_terminal=terminal, color_system=None, markup=False))
    return text.getvalue().splitlines()


@pytest.mark.parametrize(
    ("show", "width", "there", "gone"),
    [
        (live, 130, ["lingering", "1234/20000", "0.987 on 180", "█", "0.0123", "123.5 MB", "987.7 MB"], []),
        (live, 120, ["lingering", "1234/20000", "15:12", "0.987 on 180", "█", "0.0123", "123.5 MB"], ["received"]),
        (live, 80, ["lingering", "1234/20000", "15:12", "0.987 on 180", "█"], ["received", "distil", "sent"]),
        (live, 60, ["lingering", "1234/20000", "15:12", "0.987 on 180"], ["sent", "loss", "trend"]),
        (results, 120, ["private images", "398", "0.912 ± 0.021", "+0.000", "0 B"], []),
        (results, 80, ["accuracy alone", "balanced", "together", "0.912 ± 0.021", "+0.000"], ["images", "sent"]),
        (results, 60, ["accuracy together", "0.912 ± 0.021", "+0.000"], ["alone"]),
        (status, 160, ["0.987 on 180", "0.123", "1200", "12-12", "123.5 MB", "busy 12"], ["received", "distil"]),
        (status, 80, ["127.0.0.1:17000", "training", "1234/20000", "0.987 on 180", "1/1"], ["received", "distil"]),
        (status, 70, ["127.0.0.1:17000", "training", "1234/20000", "0.987 on 180"], ["received", "loss"]),
    ],
)
def test_narrow_terminals_show_fewer_columns_and_every_number_whole(
    show: Any, width: int, there: list[str], gone: list[str]
) -> None:
    lines = shown(show, width)
    assert max(map(len, lines)) <= width
    text, _, left_out = " ".join(" ".join(lines).split()).partition("a wider terminal shows: ")
    assert [cell for cell in there if cell not in text] == []
    assert [title for title in gone if title in text] == []
    assert [title for title in gone if title not in left_out] == []
    assert bool(left_out) == bool(gone)


@pytest.mark.parametrize("show", [live, results, status])
def test_what_has_no_room_at_all_goes_on_in_the_next_line(show: Any) -> None:
    lines = shown(show, 30)
    assert max(map(len, lines)) <= 30
    assert "…" not in "".join(lines)
    assert sum("wider" in line for line in lines) == 1


def test_what_peers_cannot_write_is_said_below_their_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    older = {**STATUS, **asdict(Training()), "address": "127.0.0.1:17001"}  # than protocol 1.5
    lines = shown(lambda console: print_table([STATUS, older], console), 1000, terminal=False)
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "127.0.0.1:17000 cannot write to its folder: checkpoint, metrics"
    assert not any("17001" in line for line in said)
    rows = [[cell.strip() for cell in line.split("│")[4:9]] for line in lines if "127.0.0.1" in line]
    assert rows[0] == ["1234/20000", "1234", "0.123", "0.0123", "0.987 on 180"]
    assert rows[1] == ["1234/20000", "1234", "-", "-", "0.987"]


def test_file_has_room_for_all_columns() -> None:
    assert re.search("received.*replaced.*refused", "\n".join(shown(status, 1000, terminal=False)))


@pytest.mark.parametrize("live", [True, False])
def test_stopping_is_said_above_the_table_not_through_it(
    live: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers: list[Any] = []
    monkeypatch.setattr(peer, "on_stop", handlers.append)
    stop = peer._Stop(PeerLines(0))
    stop.ready, stop.screen = True, SimpleNamespace(live=live)  # type: ignore[assignment]
    assert not stop()
    handlers[0](signal.SIGTERM, None)
    with caplog.at_level(logging.INFO, "edgekd"):
        assert stop()
        assert stop()
    assert ("stopping: saying goodbye" in capfd.readouterr().err) == (not live)
    assert caplog.messages == ([peer.STOPPING] if live else [])


def test_pictures_that_are_read_are_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, its_end = pty.openpty()
    try:
        with open(its_end, "w", encoding="utf-8") as stderr:
            monkeypatch.setattr(sys, "stderr", stderr)
            with bars.reading(50) as advance:
                for _ in range(50):
                    advance(1)
        said = b""
        with contextlib.suppress(OSError):  # all was read, and the other end is closed
            while chunk := os.read(terminal, 2**16):
                said += chunk
    finally:
        os.close(terminal)
    assert b"50/50" in said


def test_terminal_that_goes_while_a_bar_is_drawn_ends_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for shown in (lambda: bars.drawn(bars.bars(bars.stderr_console())), bars.stages):
        terminal, its_end = pty.openpty()
        with contextlib.suppress(OSError), open(its_end, "w", encoding="utf-8") as stderr:  # as it is closed
            monkeypatch.setattr(sys, "stderr", stderr)
            done = False
            with shown() as given:
                os.close(terminal)
                if callable(given):
                    given("more work")
                done = True
            assert done
            monkeypatch.undo()
            monkeypatch.setenv("TERM", "xterm")
            monkeypatch.delenv("NO_COLOR", raising=False)


def test_pictures_that_are_read_are_a_line_now_and_then_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    for every, lines in ((0.0, ["read 1 of 3 pictures", "read 2 of 3 pictures"]), (1000.0, [])):
        monkeypatch.setattr(bars, "PLAIN_EVERY", every)
        said.clear()
        with bars.reading(3, said.append) as advance:
            for _ in range(3):
                advance(1)
        assert said == lines
        with bars.reading(3) as advance:
            for _ in range(3):
                advance(1)
        assert capsys.readouterr().err.splitlines() == lines


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (
            lambda: bars.hashing(10**9),
            ["hashed 1 B of 1.0 GB of the public file", "hashed 2 B of 1.0 GB of the public file"],
        ),
        (lambda: bars.fetching(0), ["fetched 1 B of the public file", "fetched 2 B of the public file"]),
        (lambda: bars.classifying(10), ["classified 1 of 10 images", "classified 2 of 10 images"]),
        (lambda: bars.writing(10), ["wrote 1 of 10 pictures", "wrote 2 of 10 pictures"]),
    ],
)
def test_long_work_is_a_line_now_and_then_where_there_is_no_terminal(
    shown: Any, said: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for every, lines in ((0.0, said), (1000.0, [])):
        monkeypatch.setattr(bars, "PLAIN_EVERY", every)
        with shown() as advance:
            advance(1)
            advance(1)
        told = capsys.readouterr()
        assert (told.out, told.err.splitlines()) == ("", lines)


def at(step: int, seconds: float, **changed: Any) -> Any:
    return SimpleNamespace(
        **{**vars(PROGRESS), "state": "training", "step": step, "steps": 120, "seconds": seconds, **changed}
    )


@pytest.mark.parametrize(("width", "terminal"), [(60, True), (100, True), (60, False)])
def test_plain_line_says_what_a_terminal_has_room_for(width: int, terminal: bool) -> None:
    screen = progress.Screen()
    screen._console = Console(file=io.StringIO(), width=width, force_terminal=terminal)
    peer = progress._Peer(at(40, 2.0, first_step=30))
    line = screen._line(peer)
    assert line.startswith("peer 1: state training, step 40/120, ")
    assert "accuracy 0.987 on 180" in line
    assert ("left 0:16" in line) == (width > 60 or not terminal)
    assert (len(line) < width) == terminal
    assert ("received 987.7 MB" in line) == (not terminal)


def test_dead_peer_has_no_time_left() -> None:
    peer = progress._Peer(at(60, 10.0, first_step=40))  # resumed at step 40
    assert peer.seconds_left() == pytest.approx(30.0)
    peer.dead = True
    assert peer.seconds_left() is None


def test_trend_has_a_value_for_each_evaluation_and_one_alone() -> None:
    screen = progress.Screen()
    for step, (accuracy, evaluated) in enumerate([(0.5, 5), (0.5, 5), (0.9, 10), (0.9, 15), (0.9, 15), (0.9, 20)]):
        screen.show(at(step, 1.0, accuracy=accuracy, accuracy_step=evaluated))
    assert screen._peers[1].curve.text() == "▅███"


def test_curve_of_an_accuracy_goes_from_its_first_value_to_its_last() -> None:
    curve = Curve()
    assert curve.text() == "-"
    for value in (0.0, 0.3, 0.5, 0.8, 1.0):
        curve.add(value)
    assert curve.text() == "▁▃▅▇█"
    assert curve.text(ascii_only=True) == "03589"


@given(number=st.integers(1, 1000), seed=st.integers(0))
@example(number=1000, seed=0)
def test_curve_of_many_values_is_short_and_holds_the_first_and_the_last(number: int, seed: int) -> None:
    draw, curve = random.Random(seed), Curve()
    values = [draw.random() for _ in range(number)]
    for value in values:
        curve.add(value)
    ends = Curve(), Curve()
    ends[0].add(values[0])
    ends[1].add(values[-1])
    shown = curve.text()
    assert len(shown) == min(len(values), WIDTH)
    assert (shown[-1], len(values) == 1 or shown[0]) == (ends[1].text(), len(values) == 1 or ends[0].text())
    assert len(curve._values) <= MOST


def test_blocks_are_digits_where_the_encoding_has_none() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    live(Console(file=file, width=120, force_terminal=True, color_system=None))
    file.flush()
    text = file.buffer.getvalue().decode("latin-1")  # type: ignore[attr-defined]
    assert re.search(r"0.987 on 180 \| 9 ", text)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("", "")])
def test_only_a_terminal_that_takes_it_is_drawn_over(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if name:
        monkeypatch.setenv(name, value)
    assert bars.animated(Console(file=io.StringIO(), force_terminal=True)) == (not name)
    assert not bars.animated(Console(file=io.StringIO()))
