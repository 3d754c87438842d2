"""docs/results.md is what the command in docs/experiments.md makes of the sweeps that the repository keeps."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgekd.cli.report import command

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    told = re.search(
        r"^edgekd report (experiments/results/)\{(.+?)\} ((?:.+\\\n)*.+) --out report$",
        (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert told is not None
    folders = [str(ROOT / told[1] / name) for name in told[2].split(",")]
    options = shlex.split(told[3].replace("\\\n", " "))
    result = CliRunner().invoke(command, [*folders, *options, "--out", str(out)])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return out


def test_the_page_is_what_the_kept_sweeps_say(made: Path) -> None:
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == (made / "report.md").read_text(
        encoding="utf-8"
    )


def test_the_page_begins_with_what_to_choose_and_the_paper_follows(made: Path) -> None:
    parts = re.findall(r"^## (.+)$", (made / "report.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert parts[:2] == ["What to choose", "The paper's findings"]


def test_its_pictures_are_there(made: Path) -> None:
    shown = {path.name for path in made.glob("figure2*")}
    assert shown >= {"figure2.png", "figure2.svg"}
    assert {path.name for path in (ROOT / "docs").glob("figure2*")} == shown
