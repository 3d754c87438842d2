"""Run folders."""

import contextlib
from pathlib import Path

import pytest

from edgekd.errors import ConfigError
from edgekd.files import runs, writable
from edgekd.files.runs import run_folder


def test_runs_that_begin_in_one_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs.time, "strftime", lambda format: "20260101-120000")
    with contextlib.ExitStack() as runs_at_once:
        made = [runs_at_once.enter_context(run_folder(None, "digits")) for _ in range(3)]
        assert [path.name for path in made] == [f"20260101-120000-digits{suffix}" for suffix in ("", "-2", "-3")]
        assert all(path.is_dir() for path in made)


def test_folder_that_was_named_may_exist_and_is_one_processes_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with run_folder(tmp_path / "a", "digits") as folder:
        assert folder == tmp_path / "a"
        with pytest.raises(ConfigError, match="is in use by another process"), run_folder(folder, "digits"):
            pass
    with run_folder(tmp_path / "a", "digits"):
        pass
    assert list(folder.iterdir()) == [], "the lock has gone with the lock's holder"


@pytest.mark.parametrize("out", [None, Path("new"), Path("new/deeper")])
def test_folders_that_were_made_go_again_with_nothing_in_them_and_stay_with_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: Path | None
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZeroDivisionError), run_folder(out, "digits"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with run_folder(out, "digits") as folder:
        (folder / "metrics.jsonl").touch()
    assert [path.name for path in folder.iterdir()] == ["metrics.jsonl"]


def test_folder_that_was_there_stays_though_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with run_folder(tmp_path / "there" / "new", "digits"):
        pass
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_folder_that_another_process_removes_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[Path] = []

    def make_folder(path: Path) -> Path:
        made = writable.make_folder(path)
        if not removed:  # its maker has ended, and has left nothing in it
            removed.append(path)
            path.rmdir()
        return made

    monkeypatch.setattr(runs, "make_folder", make_folder)
    with run_folder(tmp_path / "a", "digits") as folder:
        assert removed == [folder]
        with pytest.raises(ConfigError, match="is in use by another process"), run_folder(folder, "digits"):
            pass


def test_folder_that_is_removed_again_and_again_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "make_folder", lambda path: path)
    with pytest.raises(ConfigError, match="was removed 100 times"), run_folder(tmp_path / "a", "digits"):
        pass
