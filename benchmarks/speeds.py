"""Three asynchronous peers at speeds 1 : 0.67 : 0.33 teach one another on a public set that does not recur.

    python benchmarks/speeds.py --data folder:cifar10/train --weights resnet18.safetensors

Each peer is a real process with a share of a core: it is stopped (SIGSTOP) for the rest of every tenth of a second, all
its threads together, as a CPU quota does, but without root. Targets: every peer has a lesson in
>= 0.95 of its steps and a fresh one in >= 0.5, and is better than alone.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from edgekd.cli.fleet import free_ports
from edgekd.config import from_mapping, to_mapping
from edgekd.files.runs import write_config
from edgekd.files.summary import standard_error
from edgekd.simulation.groups import simulate_lone

PERIOD = 0.1  # seconds
SHARES = (0.96, 0.64, 0.32)  # of a core; on two cores a little is left for whoever watches


def throttle(child: "subprocess.Popen[bytes]", share: float) -> None:
    """Let `child` run for `share` of every period, until it ends."""
    while child.poll() is None:
        time.sleep(PERIOD * share)
        child.send_signal(signal.SIGSTOP)  # does nothing to a child that has ended
        time.sleep(PERIOD * (1 - share))
        child.send_signal(signal.SIGCONT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--limit", type=int, default=40_000)
    parser.add_argument("--public-fraction", type=float, default=0.2)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    config = from_mapping(
        {
            "data": {
                "data": given.data,
                "limit": given.limit,
                "size": 32,
                "gamma": 15.0,
                "public_fraction": given.public_fraction,
                "eval_fraction": 0.05,
            },
            "model": {"weights": given.weights},
            "train": {"steps": given.steps, "seed": given.seed, "eval_every": 0, "checkpoint_every": 0},
            "exchange": {"wait_for": 3, "linger": float("inf")},
        }
    )
    batches = int(given.limit * given.public_fraction) // config.train.public_batch
    alone = [simulate_lone(config, id, balance="off") for id in range(3)]
    balanced = [simulate_lone(config, id, balance="on") for id in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        together, newest = run(Path(folder), config)
    print(f"public batches: {batches}; newest round: {newest} ({'does not recur' if newest < batches else 'RECURS'})")
    print(f"settings: {json.dumps(to_mapping(config))}")
    print("peer  speed  steps  lessons  fresh  alone  alone balanced  together  (standard error)  waits")
    for id, peer in enumerate(together):
        accuracies = f"{alone[id].accuracy:.3f}  {balanced[id].accuracy:14.3f}  {peer['accuracy']:8.3f}"
        error = standard_error(peer["accuracy"], peer["evaluation_samples"])
        lessons, fresh = peer["lessons"] / peer["steps"], peer["fresh_lessons"] / peer["steps"]
        speed = SHARES[id] / SHARES[0]
        print(
            f"{id:4}  {speed:5.2f}  {peer['steps']:5}  {lessons:7.3f}  {fresh:5.3f}  "
            f"{accuracies}  {error:16.3f}  {peer['waits']:5}"
        )


def run(folder: Path, config: object) -> tuple[list[dict], int]:  # type: ignore[type-arg]
    """The peers' summaries, and the newest round that any of them published."""
    file = write_config(folder, config)  # type: ignore[arg-type]
    addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
    children = []
    for id, own in enumerate(addresses):
        command = [sys.executable, "-m", "edgekd", "peer", "--config", str(file), "--id", str(id), "--listen", own]
        command += ["--peers", ",".join(addresses), "--out", str(folder / f"peer-{id}"), "--json"]
        with (folder / f"peer-{id}.log").open("wb") as log:
            children.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
    for child, share in zip(children, SHARES, strict=True):
        threading.Thread(target=throttle, args=(child, share), daemon=True).start()
    codes = [child.wait() for child in children]
    assert codes == [0, 0, 0], [(folder / f"peer-{id}.log").read_text()[-2000:] for id in range(3)]
    found = [json.loads((folder / f"peer-{id}" / "summary.json").read_text())["peers"][0] for id in range(3)]
    progress = [
        json.loads(line)
        for id in range(3)
        for line in (folder / f"peer-{id}.log").read_text().splitlines()
        if '"progress"' in line
    ]
    return found, max(each["round"] for each in progress)


if __name__ == "__main__":
    main()
