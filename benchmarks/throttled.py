"""Runs three asynchronous peers as real processes on one machine, each with a share of a core.

In every tenth of a second each peer runs for its share and is stopped (SIGSTOP) for the rest, with all its threads. A
CPU quota does the same, but needs root.
"""

import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.cli.fleet import free_ports
from edgekd.config import Config, from_mapping
from edgekd.files.runs import write_config

PERIOD = 0.1  # seconds
SHARES = (0.96, 0.64, 0.32)  # of a core; on two cores a little is left for the benchmark itself

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trained:
    """The records of one peer."""

    summary: Record  # from its summary.json
    steps: list[Record]  # lines of its metrics.jsonl: one for each step
    progress: list[Record]  # printed lines: several a second, each with "step" and "seconds"


def three_peers(data: Record, model: Record, train: Record) -> Config:
    """Make the settings of three peers that begin together and go on teaching (linger) until all have done their steps.

    Args:
        data: settings of the section [data].
        model: settings of the section [model].
        train: settings of the section [train].
    """
    return from_mapping(
        {
            "data": {"size": 32, "gamma": 15.0, "eval_fraction": 0.05, **data},
            "model": model,
            "train": {"eval_every": 0, "checkpoint_every": 0, **train},
            "exchange": {"wait_for": 3, "linger": float("inf")},  # a peer's own address counts as connected
        }
    )


def run(folder: Path, config: Config) -> list[Trained]:
    """Train the three peers to the end, with their results in the existing `folder`.

    Raises:
        RuntimeError: a peer has failed; the message has the end of its log.
    """
    file = write_config(folder, config)
    addresses = [f"127.0.0.1:{port}" for port in free_ports(len(SHARES))]
    children = []
    try:
        for id, (own, share) in enumerate(zip(addresses, SHARES, strict=True)):
            command = [sys.executable, "-m", "edgekd", "peer", "--config", str(file), "--id", str(id), "--listen", own]
            command += ["--peers", ",".join(addresses), "--out", str(folder / f"peer-{id}"), "--json"]
            with (folder / f"peer-{id}.out").open("wb") as out, (folder / f"peer-{id}.log").open("wb") as log:
                child = subprocess.Popen(command, stdout=out, stderr=log)  # in one file the lines would be mixed
            children.append(child)
            threading.Thread(target=_throttle, args=(child, share), daemon=True).start()
        for id, child in enumerate(children):
            if code := child.wait():
                said = (folder / f"peer-{id}.log").read_text()[-2000:]
                raise RuntimeError(f"peer {id} has ended with exit code {code}: {said}")
    finally:
        for child in children:  # else they might stay stopped for ever
            child.kill()
    return [_read(folder, id) for id in range(len(SHARES))]


def _throttle(child: "subprocess.Popen[bytes]", share: float) -> None:
    """Let `child` run for `share` of every period, until it ends."""
    while child.poll() is None:
        time.sleep(PERIOD * share)
        child.send_signal(signal.SIGSTOP)  # has no effect if the child has ended
        time.sleep(PERIOD * (1 - share))
        child.send_signal(signal.SIGCONT)


def _read(folder: Path, id: int) -> Trained:
    peer, printed = folder / f"peer-{id}", (folder / f"peer-{id}.out").read_text()
    return Trained(
        summary=json.loads((peer / "summary.json").read_text())["peers"][0],
        steps=[json.loads(line) for line in (peer / "metrics.jsonl").read_text().splitlines()],
        progress=[json.loads(line) for line in printed.splitlines() if '"progress"' in line],
    )
