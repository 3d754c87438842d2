"""What lies in a peer's or a run's folder is found by names alone, whatever was left out when it was copied."""

from pathlib import Path

import pytest

from edgekd.errors import ConfigError
from edgekd.files.folders import checkpoints, peer_folder, settings_file


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def test_best_checkpoint_comes_after_all_others(tmp_path: Path) -> None:
    names = ["checkpoint-00000200.safetensors", "checkpoint-00000100.safetensors", "best.safetensors"]
    for name in ("current", "checkpoint-of-mine.safetensors", *names):
        write(tmp_path / name)
    assert [path.name for path in checkpoints(tmp_path)] == names


def test_peer_that_has_only_its_best_checkpoint_is_found(tmp_path: Path) -> None:
    write(tmp_path / "peer-3" / "best.safetensors")
    (tmp_path / "peer-4").mkdir()
    assert peer_folder(tmp_path, None) == peer_folder(tmp_path, 3) == tmp_path / "peer-3"


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["config.toml", "peer-1/config.toml"], "peer-1/config.toml"),
        (["config.toml"], "config.toml"),
        (["peer-1/config.toml", "peer-0/config.toml"], "peer-1/config.toml"),
        (["peer-0/config.toml"], None),
        ([], None),
    ],
)
def test_settings_are_those_of_the_peer_and_else_of_its_run(
    tmp_path: Path, there: list[str], taken: str | None
) -> None:
    for id in (0, 1):
        write(tmp_path / f"peer-{id}" / "checkpoint-00000006.safetensors")
    for name in there:
        write(tmp_path / name)
    expected = None if taken is None else tmp_path / taken
    peers = tmp_path / "peer-1"
    for where, peer in ((tmp_path, 1), (peers, None), (peers / "checkpoint-00000006.safetensors", None)):
        assert settings_file(where, peer) == expected, where


def test_settings_of_a_run_whose_peer_is_not_clear_are_its_own(tmp_path: Path) -> None:
    for id in (0, 1):
        write(tmp_path / f"peer-{id}" / "checkpoint-00000006.safetensors")
        write(tmp_path / f"peer-{id}" / "config.toml")
    with pytest.raises(ConfigError, match="choose one with --peer"):
        peer_folder(tmp_path, None)
    assert settings_file(tmp_path) is None
    assert settings_file(tmp_path, 7) is None
    own = write(tmp_path / "config.toml")
    assert settings_file(tmp_path) == own


def test_file_apart_from_its_folder_has_no_settings_of_others(tmp_path: Path) -> None:
    copied = write(tmp_path / "copied.safetensors")
    write(tmp_path / "peer-0" / "checkpoint-00000006.safetensors")
    write(tmp_path / "peer-0" / "config.toml")
    assert settings_file(copied) is None
