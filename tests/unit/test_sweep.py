"""A sweep: what is missing is run, what fails is told, a process that dies takes no other cell with it."""

import csv
import re
import signal
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from edgekd.cli import cli
from edgekd.errors import ConfigError
from edgekd.files.summary import PeerSummary
from edgekd.lab.sweep.engines import local
from edgekd.lab.sweep.grid import configs, plan
from edgekd.lab.sweep.named_files import check_unchanged
from edgekd.lab.sweep.records import ALONE, POOLED, Cell, Outcome, append_outcome, read_outcomes
from edgekd.lab.sweep.run import Failure, Result, check, labels, missing, run_cell, sweep
from edgekd.simulation.groups import simulate, simulate_pooled

torch.set_num_threads(1)

TABLES = {
    "data": {"data": "digits", "limit": 300, "clients": 2},
    "model": {"model": "mobilenet_v3_small"},
    "train": {"steps": 2, "batch": 8, "public_batch": 8, "eval_every": 0, "seed": [0, 1]},
    "distill": {"measure": ["kl", "sed"]},
}
CELLS = plan(list(configs(TABLES)), baseline=True)


def in_this_process(cells: Sequence[Cell]) -> Generator[Result, None, None]:
    yield from map(run_cell, cells)


def test_cell_is_what_the_simulation_gives() -> None:
    for cell in (CELLS[0], next(c for c in CELLS if c.kind == POOLED), CELLS[-1]):
        got = run_cell(cell)
        assert isinstance(got, Outcome)
        expected = (simulate_pooled(cell.config),) if cell.kind == POOLED else simulate(cell.config).peers
        assert got.peers == expected
        assert got.processor, "where it ran is noted"


def test_each_cell_is_written_as_it_finishes_and_none_is_run_twice(tmp_path: Path) -> None:
    ran: list[str] = []

    def two_only(cells: Sequence[Cell]) -> Generator[Result, None, None]:
        for cell in cells[:2]:
            ran.append(cell.name)
            yield run_cell(cell)
            assert [outcome.cell.name for outcome in read_outcomes(tmp_path)].count(cell.name) == 1

    while missing(CELLS, tmp_path):
        assert sweep(CELLS, tmp_path, two_only) == []
    assert sorted(ran) == sorted(cell.name for cell in CELLS)
    assert {outcome.cell for outcome in read_outcomes(tmp_path)} == set(CELLS)
    assert sum(1 for outcome in read_outcomes(tmp_path) if outcome.cell.kind == ALONE) == 4


def test_failed_cell_is_told_stops_no_other_and_is_tried_again(tmp_path: Path) -> None:
    tables = {**TABLES, "data": {**TABLES["data"], "clients": [2, 250]}, "train": {**TABLES["train"], "seed": 0}}
    cells = plan(list(configs(tables)), baseline=False)
    failures = sweep(cells, tmp_path, in_this_process)
    assert [failure.cell.config.data.clients for failure in failures] == [250, 250]
    assert "too few" in failures[0].reason or "without an image" in failures[0].reason
    assert "clients 250" in labels(cells)[failures[0].cell]
    assert missing(cells, tmp_path) == [failure.cell for failure in failures]


def test_cells_are_called_by_what_differs_among_those_of_their_kind() -> None:
    named = set(labels(CELLS).values())
    kinds = {label.partition(" ")[0]: label.partition(": ")[2] for label in named}
    assert kinds["together"].startswith("measure ")
    assert ", seed " in kinds["together"]
    assert kinds["pooled"].startswith("seed ")
    assert len(named) == len(CELLS)


PEERS = tuple(PeerSummary(id=id, steps=1, accuracy=0.5, own_accuracy=0.5) for id in range(2))


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """Cells of two measures, which name pictures, a function, weights and a topology; in the working folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (8, 8), (i * 9, 40, 40)).save(tmp_path / "pictures" / name / f"{i}.bmp")
    (tmp_path / "mine.py").write_text("def measure(q, z, temperature=1.0):\n    return z.sum(-1)\n")
    (tmp_path / "weights.pth").write_bytes(b"some weights")
    (tmp_path / "edges.txt").write_text("0 1\n")
    (tmp_path / "out").mkdir()
    tables = {
        "data": {"data": "folder:pictures", "clients": 2},
        "model": {"weights": "weights.pth"},
        "exchange": {"topology": "edges.txt"},
        "distill": {"measure": ["./mine.py:measure", "kl"]},
    }
    return plan(list(configs(tables)), baseline=False)


def recolour(folder: Path) -> None:
    Image.new("RGB", (8, 8), (1, 2, 3)).save(folder / "pictures" / "cat" / "0.bmp")  # as many bytes as before


def elsewhere(folder: Path) -> None:
    """As from another working folder, where the same names lead to other pictures."""
    (folder / "pictures").rename(folder / "before")
    for name in ("cat", "dog"):
        (folder / "pictures" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), (7, 7, 7)).save(folder / "pictures" / name / "0.bmp")


CHANGES = {
    "pictures": {
        "one more": lambda folder: Image.new("RGB", (8, 8)).save(folder / "pictures" / "dog" / "new.png"),
        "one less": lambda folder: (folder / "pictures" / "dog" / "1.bmp").unlink(),
        "renamed": lambda folder: (folder / "pictures" / "dog" / "1.bmp").rename(folder / "pictures" / "dog" / "9.bmp"),
        "moved": lambda folder: (folder / "pictures" / "dog" / "1.bmp").rename(folder / "pictures" / "cat" / "7.bmp"),
        "recoloured": recolour,
        "elsewhere": elsewhere,
    },
    "./mine.py": {"changed": lambda folder: (folder / "mine.py").write_text("def measure(): ...\n")},
    "weights.pth": {"changed": lambda folder: (folder / "weights.pth").write_bytes(b"other weight")},
    "edges.txt": {"changed": lambda folder: (folder / "edges.txt").write_text("1 0\n")},
}


@pytest.mark.parametrize(("name", "change"), [(name, change) for name in CHANGES for change in CHANGES[name]])
def test_sweep_goes_on_only_with_what_its_results_were_made_with(
    named: list[Cell], tmp_path: Path, name: str, change: str
) -> None:
    out = tmp_path / "out"
    check_unchanged(named, out)
    append_outcome(out, Outcome(named[0], PEERS, 1.0))
    left = [named[0] if name == "./mine.py" else named[1]]
    (tmp_path / "pictures" / "cat" / "notes.txt").write_text("no picture")
    check_unchanged(left, out)
    CHANGES[name][change](tmp_path)
    with pytest.raises(ConfigError, match=f"^{re.escape(name)} is not what it was for the results in .*another --out"):
        check_unchanged(left, out)


def test_what_no_result_was_made_with_may_change(named: list[Cell], tmp_path: Path) -> None:
    check_unchanged(named, tmp_path / "out")
    recolour(tmp_path)
    check_unchanged(named, tmp_path / "out")


def test_results_of_before_this_was_noted_are_gone_on_from_and_it_is_noted(named: list[Cell], tmp_path: Path) -> None:
    out = tmp_path / "out"
    append_outcome(out, Outcome(named[0], PEERS, 1.0))
    check_unchanged(named[1:], out)
    recolour(tmp_path)
    with pytest.raises(ConfigError, match=r"^pictures is not what it was"):
        check_unchanged(named[1:], out)


KILLER = """
import os, signal, torch

def measure(q, z):
    if q.shape[0] == 8:  # not on the trial
        os.kill(os.getpid(), signal.SIGKILL)
    return ((q - torch.softmax(z, -1)) ** 2).sum(-1)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills as Linux does when memory is short")
def test_cell_that_kills_its_process_is_told_and_the_others_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "killer_measure.py").write_text(KILLER)
    monkeypatch.syspath_prepend(str(tmp_path))  # spawned processes inherit it
    measures = ["kl", "killer_measure:measure", "sed", "td"]
    tables = {**TABLES, "distill": {"measure": measures}, "train": {**TABLES["train"], "seed": 0}}
    cells = plan(list(configs(tables)), baseline=False)
    (tmp_path / "out").mkdir()
    (failure,) = sweep(cells, tmp_path / "out", local(2))
    assert failure == Failure(cells[1], "its process was killed; out of memory?")
    assert {o.cell.config.distill.measure for o in read_outcomes(tmp_path / "out")} == {"kl", "sed", "td"}


def test_side_by_side_gives_the_same_weights(tmp_path: Path) -> None:
    cells = CELLS[-2:]
    sweep(cells, tmp_path, local(2))
    got = {outcome.cell: outcome.peers for outcome in read_outcomes(tmp_path)}
    for cell in cells:
        one = run_cell(cell)
        assert isinstance(one, Outcome)
        assert [p.weights_sha256 for p in got[cell]] == [p.weights_sha256 for p in one.peers]


def test_sweep_of_nothing_or_without_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="no cell to run"):
        check([])
    with pytest.raises(ConfigError, match="steps 0"):
        check(plan(list(configs({"train": {"steps": 0}})), baseline=False))


def test_sweep_takes_lists_of_the_virtual_clocks_settings_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    small = ["--model", "mobilenet_v3_small", "--limit", 300, "--batch", 8, "--public-batch", 8, "--steps", 2]
    clock = ["--async", "--step-times", "1:2,1", "--delay", "0,1", "--down", "1:1-2:fresh,2:1-2:fresh"]
    command = [str(each) for each in ("sweep", *small, *clock, "--seed", "0,1", "--jobs", 2, "--out", tmp_path)]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert len(rows) == 2 * 2 * 2 * 3
    assert {row["step_times"] for row in rows} == {"1:2", ""}
    before = (tmp_path / "results.csv").read_bytes()
    assert CliRunner().invoke(cli, command).exit_code == 0
    assert (tmp_path / "results.csv").read_bytes() == before
