"""``edgekd sweep`` as a process: killed midway it goes on, and each cell is there once."""

import csv
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image

from edgekd.exit_codes import ExitCode

SMALL = ["--data", "digits", "--limit", 300, "--model", "mobilenet_v3_small"]
SMALL += ["--steps", 2, "--batch", 8, "--public-batch", 8, "--eval-every", 0]
GRID = ["--measure", "kl,sed", "--alpha", "0.2,0.5,1", "--seed", "0,1", "--split", "iid,gamma:5", "--baseline"]
CELLS, BASELINES = 2 * 2 * 2 * 2, 2 * 2 * 3  # alone with and without balance, and pooled


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def finished(folder: Path) -> int:
    return len({row["cell"] for name in ("results.csv", "baselines.csv") for row in rows(folder / name)})


def test_sweep_killed_twice_loses_no_cell_and_runs_none_twice(spawn: Any, tmp_path: Path) -> None:
    command = ["sweep", *SMALL, *GRID, "--out", "results", "--jobs", 2]
    folder = tmp_path / "results"
    deadline = time.monotonic() + 200
    for _ in range(2):
        process, before = spawn(*command), finished(folder)
        while finished(folder) < before + 5:
            assert time.monotonic() < deadline, process.err
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert spawn(*command).wait() == 0
    for name, clients, cells in (("results.csv", 3, CELLS), ("baselines.csv", None, BASELINES)):
        counts = Counter(row["cell"] for row in rows(folder / name))
        assert len(counts) == cells
        if clients:
            assert set(counts.values()) == {clients}
        pairs = [(row["cell"], row["client"]) for row in rows(folder / name)]
        assert len(set(pairs)) == len(pairs), "no cell is there twice"
    before = (folder / "results.csv").stat().st_size
    again = spawn(*command)
    assert again.wait() == 0
    assert (folder / "results.csv").stat().st_size == before, "nothing is left to run"


def test_paths_that_are_not_utf_8_are_swept_and_reported(spawn: Any, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"b\xff")
    for name in ("cat", "dog"):
        (odd / "pictures" / name).mkdir(parents=True)
        for i in range(20):
            Image.new("RGB", (20, 20), (i * 9, 40, 40)).save(odd / "pictures" / name / f"{i}.png")
    (odd / "sweep.toml").write_text("[data]\nsize = 20\n")
    where = ["--config", odd / "sweep.toml", "--data", odd / "pictures", "--out", odd / "results"]
    small = ["--clients", 2, "--split", "iid", "--batch", 4, "--public-batch", 4, "--weights", "none", "--steps", 1]
    for seeds, new in (("0", 1), ("0,1", 1), ("0,1", 0)):
        process = spawn("sweep", *where, *small, "--model", "mobilenet_v3_small", "--seed", seeds)
        assert process.wait() == 0, process.err
        assert sum("cells, about" in line for line in process.err) == new, "nothing is run twice"
    report = spawn("report", odd / "results", "--out", odd / "report")
    assert report.wait() == 0, report.err
    assert (odd / "report" / "index.html").read_text(encoding="utf-8")


def test_two_sweeps_do_not_write_into_one_folder(spawn: Any, tmp_path: Path) -> None:
    first = spawn("sweep", *SMALL, "--steps", 100_000, "--out", "results")
    deadline = time.monotonic() + 100
    while not (tmp_path / "results" / "sweep.toml").exists():
        assert time.monotonic() < deadline, first.err
        time.sleep(0.05)
    second = spawn("sweep", *SMALL, "--out", "results")
    assert second.wait() == ExitCode.TRANSIENT
    assert "results is in use by another process" in second.err[-1]
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 130
    assert first.err[-1] == "edgekd: stopped; the same command goes on where it was"


def test_failed_cells_are_told_and_the_exit_code_says_so(spawn: Any, tmp_path: Path) -> None:
    sweep = spawn("sweep", *SMALL, "--clients", "2,260", "--out", "results")
    assert sweep.wait() == 1
    assert any(line.startswith("failed: together ") and "clients 260" in line for line in sweep.err)
    (why,) = [line.rpartition(": ")[2] for line in sweep.err if line.startswith("failed: ")]
    assert sweep.err[-1].startswith("edgekd: 1 of 2 cells failed: ")
    assert sweep.err[-1].endswith(why)
    assert {row["clients"] for row in rows(tmp_path / "results" / "results.csv")} == {"2"}


def test_flags_win_over_each_grid_of_the_file(spawn: Any, tmp_path: Path) -> None:
    (tmp_path / "experiment.toml").write_text(
        '[data]\ndata = "digits"\nlimit = 300\n[[grid]]\ntrain = { seed = [1, 2] }\ndata = { split = ["iid"] }\n'
    )
    sweep = spawn("sweep", "--config", "experiment.toml", *SMALL, "--seed", 5, "--gamma", 3, "--out", "results")
    assert sweep.wait() == 0, sweep.err
    got = rows(tmp_path / "results" / "results.csv")
    assert {(row["seed"], row["split"], row["gamma"]) for row in got} == {("5", "gamma", "3.0")}
    assert sweep.err == [f"1/1 cells, about 0:00 left: together {got[0]['cell']}"]
    assert (tmp_path / "results" / "sweep.toml").is_file()


def test_sweep_does_not_go_on_with_other_pictures(spawn: Any, tmp_path: Path) -> None:
    for name, red in (("cat", 40), ("dog", 200)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(20):
            Image.new("RGB", (20, 20), (red, i * 9, 40)).save(tmp_path / "pictures" / name / f"{i}.png")
    small = ["--clients", 2, "--split", "iid", "--batch", 4, "--public-batch", 4, "--weights", "none", "--steps", 1]
    sweep = ["sweep", "--data", "folder:pictures", "--size", 32, "--model", "mobilenet_v3_small", *small]
    sweep += ["--out", "results", "--measure"]
    assert spawn(*sweep, "kl").wait() == 0
    (tmp_path / "pictures" / "cat" / "3.png").unlink()
    before = (tmp_path / "results" / "results.csv").read_bytes()
    refused = spawn(*sweep, "kl,sed")
    assert refused.wait() == 1
    assert refused.err[-1].startswith("edgekd: pictures is not what it was for the results in results: ")
    assert (tmp_path / "results" / "results.csv").read_bytes() == before
    assert not (tmp_path / "results" / "sweep-2.toml").exists()
