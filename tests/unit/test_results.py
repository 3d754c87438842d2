"""docs/results.md is what `edgekd report` makes of the sweeps that the repository keeps."""

from pathlib import Path

import pytest

from edgekd.lab.report.write import write_report

ROOT = Path(__file__).parents[2]
KEPT = ("cifar10", "scenes", "ingredients", "encodings", "poison")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    write_report([ROOT / "experiments" / "results" / name for name in KEPT], out)
    return out


def test_the_page_is_what_the_kept_sweeps_say(made: Path) -> None:
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == (made / "report.md").read_text(
        encoding="utf-8"
    )


def test_its_pictures_are_there(made: Path) -> None:
    shown = {path.name for path in made.glob("figure2*")}
    assert shown >= {"figure2.png", "figure2.svg"}
    assert {path.name for path in (ROOT / "docs").glob("figure2*")} == shown
