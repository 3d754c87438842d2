"""A peer's folder: what a restart makes of what is there."""

import json
import logging
from pathlib import Path

import pytest

from peer.node import recorder
from peer.node.recorder import Recorder


def lines(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def resumed(folder: Path) -> Recorder:
    made = Recorder(folder)
    made.resume(None)
    made.begin()
    return made


def test_folder_stays_as_it_is_until_the_recorder_begins(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 5}\n')
    (tmp_path / ".checkpoint.1.tmp").write_text("half")
    made = Recorder(tmp_path)
    made.resume(None)
    assert lines(tmp_path) == [5]
    assert len(list(tmp_path.iterdir())) == 2
    made.begin()
    assert lines(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 1


def test_lines_of_metrics_that_a_power_cut_has_garbled_are_dropped_at_a_restart(tmp_path: Path) -> None:
    sound = b'{"step": 0}\n'
    (tmp_path / "metrics.jsonl").write_bytes(
        sound + b"\0" * 300 + b'\n{"step": 0, "lo{"step": 1}\n[3]\n{"other": 1}\n\xff\xfe\n{"step": 5}\n{"step": 0}'
    )
    resumed(tmp_path)
    assert lines(tmp_path) == [0]


def test_restart_in_a_folder_that_cannot_be_written_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "metrics.jsonl").write_text('garbled\n{"step": 0}\n')

    def full(path: Path, pieces: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorder, "write_atomically", full)
    with caplog.at_level(logging.WARNING):
        made = resumed(tmp_path)
    assert made.failing == {"metrics": "No space left on device"}
    assert "training goes on" in caplog.text
    assert (tmp_path / "metrics.jsonl").read_text().endswith('{"step": 0}\n'), "what was there is kept"


def test_long_metrics_are_cut_off_where_they_lie_at_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {step}}}\n' for step in (0, 0, 7, 8)) + '{"st')
    before = path.stat().st_ino
    resumed(tmp_path)
    assert lines(tmp_path) == [0, 0]
    assert path.stat().st_ino == before, "no copy of what may be large"
