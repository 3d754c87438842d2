"""The same cells on a Ray cluster of two nodes, each its own raylet: needs the extra ``edgekd[ray]``."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="pip install 'edgekd[ray]'")

CELLS = ["--data", "digits", "--limit", 300, "--steps", 2, "--batch", 8, "--public-batch", 8, "--eval-every", 0]
CELLS += ["--measure", "kl,sed", "--seed", "0,1"]


def rows(folder: Path) -> dict[tuple[str, str], str]:
    content = (folder / "results.csv").read_text().splitlines()
    return {(row["cell"], row["client"]): row["weights_sha256"] for row in csv.DictReader(content)}


def test_cells_on_a_cluster_of_two_nodes_give_the_weights_of_this_machines(
    spawn: Any, ports: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = ports(1)
    ray = [str(Path(sys.executable).with_name("ray"))]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True, "timeout": 120}
    try:
        node = ["start", "--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats"]
        head = [*node, "--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--include-dashboard=false"]
        subprocess.run([*ray, *head], **quiet)
        subprocess.run([*ray, *node, f"--address=127.0.0.1:{port}"], **quiet)
        local = spawn("sweep", *CELLS, "--out", "local", "--jobs", 1)
        assert local.wait() == 0, local.err
        cluster = spawn("sweep", *CELLS, "--out", "cluster", "--engine", "ray")
        assert cluster.wait() == 0, cluster.err
        assert rows(tmp_path / "cluster") == rows(tmp_path / "local")
        assert len(rows(tmp_path / "cluster")) == 4 * 3
    finally:
        subprocess.run([*ray, "stop", "--force"], env={**os.environ}, **{**quiet, "check": False})


def test_files_in_the_working_folder_are_not_run_by_the_workers(spawn: Any, tmp_path: Path) -> None:
    for name in ("edgekd", "peer", "statistics", "safetensors", "torchvision"):
        (tmp_path / f"{name}.py").write_text(f"open('{tmp_path}/{name} was run', 'w').close()\nraise SystemExit(7)\n")
    sweep = spawn("sweep", *CELLS[:-2], "--out", "results", "--engine", "ray")
    assert sweep.wait() == 0, sweep.err
    assert not list(tmp_path.glob("* was run"))
