"""The list of revoked keys that a running peer reads as it changes."""

from pathlib import Path

import pytest

from peer.transports.revoked import RevokedKeys


def test_list_that_is_still_being_written_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "revoked.txt"
    path.write_text("peer-1\npeer-2\n")
    keys = RevokedKeys(tmp_path)
    assert keys.current() == {1, 2}
    path.write_text("")  # as `cp` leaves it for a moment
    assert keys.current() == {1, 2}
    path.write_text("peer-1\npeer-2\npeer-3\n")
    assert keys.current() == {1, 2}
    assert keys.current() == {1, 2, 3}


def test_list_that_is_taken_away_or_emptied_for_good_lets_all_in_again(tmp_path: Path) -> None:
    path = tmp_path / "revoked.txt"
    path.write_text("observer-pc\n")
    keys = RevokedKeys(tmp_path)
    path.unlink()
    assert keys.current() == {"observer-pc"}
    assert keys.current() == frozenset()


def test_damaged_list_keeps_the_one_from_before_and_warns_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "revoked.txt"
    path.write_text("peer-1\n")
    keys = RevokedKeys(tmp_path)
    path.write_text("peer-1\nsomebody\n")
    for _ in range(4):
        assert keys.current() == {1}
    assert len([record for record in caplog.records if "stay so" in record.getMessage()]) == 1
