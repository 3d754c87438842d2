"""Run folders."""

from pathlib import Path

import pytest

from edgekd.files import runs
from edgekd.files.runs import make_run_folder


def test_runs_that_begin_in_one_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs.time, "strftime", lambda format: "20260101-120000")
    made = [make_run_folder(None, "digits") for _ in range(3)]
    assert [path.name for path in made] == [f"20260101-120000-digits{suffix}" for suffix in ("", "-2", "-3")]
    assert all(path.is_dir() for path in made)


def test_folder_that_was_named_may_exist(tmp_path: Path) -> None:
    assert make_run_folder(tmp_path / "a" / "b", "digits") == make_run_folder(tmp_path / "a" / "b", "digits")
