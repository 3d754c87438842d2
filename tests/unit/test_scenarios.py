"""Scenarios: what happens today is what is recorded in tests/scenarios, line by line.

After a change of the rules, `pytest tests/unit/test_scenarios.py --regenerate` records anew; read the difference before
it is committed.
"""

from pathlib import Path

import pytest
from scenarios import replayed

FOLDER = Path(__file__).parent.parent / "scenarios"
SCENARIOS = sorted(FOLDER.glob("*.txt"))
MOST_LINES = 60


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_what_happens_is_what_is_recorded(file: Path, request: pytest.FixtureRequest) -> None:
    recorded = file.read_text(encoding="utf-8")
    found = replayed(recorded)
    if request.config.getoption("regenerate"):
        file.write_text(found, encoding="utf-8")
    else:
        assert found == recorded, "if this is meant, run again with --regenerate, and read the difference"


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_scenario_says_first_what_it_shows_and_is_short(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) <= MOST_LINES


def test_folder_of_scenarios_has_not_moved() -> None:
    assert len(SCENARIOS) > 10


def test_old_record_is_replaced_and_prose_is_kept() -> None:
    text = "# Alone.\n\npeers\nup 0\nstep 0 x 2\n    0 step 0: learns 7 from 1\n"
    assert replayed(text) == (
        "# Alone.\n\npeers\nup 0\nstep 0 x 2\n"
        "    0 step 0: teaches 0, learns nothing\n    0 step 1: teaches 1, learns nothing\n"
    )


@pytest.mark.parametrize("line", ["stpe 0", "record", "_learn 0", "step 0 times 3"])
def test_unknown_command_or_word_is_refused(line: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        replayed(f"peers\nup 0\n{line}\n")
