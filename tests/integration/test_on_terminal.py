"""What commands show on a real terminal, wide and narrow; and plain lines where nothing may be drawn over."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from terminals import on_terminal

TINY = ["--limit", 300, "--batch", 8, "--public-batch", 8, "--model", "mobilenet_v3_small", "--threads", 1]
RUN = ["run", *TINY, "--clients", 2, "--steps", 12, "--eval-every", 3, "--out", "r"]
BLOCKS = "▁▂▃▄▅▆▇█"


@pytest.mark.parametrize(
    ("columns", "titles", "left_out"),
    [(120, ["left", "trend", "distil", "sent"], []), (60, ["step", "left", "accuracy"], ["received", "distil"])],
)
def test_run_shows_time_left_and_the_trend_and_fits_the_terminal(
    columns: int, titles: list[str], left_out: list[str], tmp_path: Path
) -> None:
    shown = on_terminal(RUN, tmp_path, columns)
    assert shown.code == 0, shown.text
    assert shown.drawn_over
    table = [line for line in shown.lines if "│" in line or "┃" in line]
    assert max(map(len, table)) <= columns
    header = next(line for line in table if "state" in line)
    assert [title for title in titles if title not in header] == []
    assert any(line.count(":") and "12" in line for line in table if "training" in line), "no time left"
    narrow = " ".join(" ".join(shown.lines).split())
    assert [title for title in left_out if title not in narrow.partition("a wider terminal shows:")[2]] == []
    if columns == 120:
        assert any(set(BLOCKS) & set(line) for line in table)


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_plain_lines_where_nothing_may_be_drawn_over(plain: dict[str, str], tmp_path: Path) -> None:
    shown = on_terminal(RUN, tmp_path, 80, **plain)
    assert shown.code == 0, shown.text
    assert not shown.drawn_over
    assert "\x1b[?25l" not in shown.text  # the cursor is not hidden
    assert any(line.startswith("peer 1: state") and "step 12/12" in line for line in shown.lines)


def test_json_is_all_of_stdout_while_a_terminal_shows_bars(tmp_path: Path) -> None:
    simulate = ["simulate", *TINY, "--steps", 6, "--json", "--out", "s"]
    shown = on_terminal(simulate, tmp_path, 60, stdout=tmp_path / "out")
    assert shown.code == 0, shown.text
    assert len(json.loads(shown.out)["peers"]) == 3
    assert "18/18 steps" in " ".join(shown.lines)
    assert shown.width <= 60


def test_lines_of_a_simulation_do_not_cut_through_its_bar(tmp_path: Path) -> None:
    shown = on_terminal(["simulate", *TINY, "--steps", 4, "--eval-every", 2, "--out", "s"], tmp_path, 80)
    said = [line for line in shown.lines if line.startswith("peer ") and "step 2/4" in line]
    assert len(said) == 3
    assert all(line.rstrip().endswith("images") for line in said)


@pytest.mark.parametrize("columns", [120, 60])
def test_sweep_and_report_show_bars_that_fit(columns: int, tmp_path: Path) -> None:
    sweep = ["sweep", *TINY, "--steps", "2", "--measure", "kl,sed", "--jobs", 1, "--out", "s"]
    shown = on_terminal(sweep, tmp_path, columns)
    assert shown.code == 0, shown.text
    bars = [line for line in shown.lines if "cells" in line and "/" in line and "━" in line]
    assert bars
    assert max(map(len, bars)) <= columns
    assert any("left" in line for line in bars)
    shown = on_terminal(["report", "s", "--out", "page"], tmp_path, columns)
    assert shown.code == 0, shown.text
    assert any("reading the cells" in line for line in shown.lines)
    assert "…" not in "".join(shown.lines)  # no number is cut


@pytest.mark.parametrize("columns", [120, 60])
def test_pictures_and_the_public_file_show_bars_that_fit(columns: int, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(400):
        Image.new("RGB", (300, 300), (number % 256, 40, 90)).save(tmp_path / "pictures" / f"{number}.png")
    public = ["public", "pictures", "--classes", "a,b", "--size", 256, "-o", "public.safetensors"]
    shown = on_terminal(public, tmp_path, columns)
    assert shown.code == 0, shown.text
    bars = [line for line in shown.lines if "pictures" in line and "/400" in line]
    assert bars
    assert max(map(len, bars)) <= columns
    for name in "ab":
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (32, 32), (number, 9, 9)).save(tmp_path / "own" / name / f"{number}.png")
    own = ["--private", "folder:own", "--public", "public.safetensors", "--weights", "none"]
    peer: list[Any] = ["peer", "--id", 0, *own, "--steps", 1, "--batch", 2, "--public-batch", 2, "--out", "p"]
    shown = on_terminal([*peer, "--model", "mobilenet_v3_small", "--threads", 1], tmp_path, columns)
    assert shown.code == 0, shown.text
    bars = [line for line in shown.lines if "hashing the public file" in line]
    assert bars
    assert max(map(len, bars)) <= columns
