"""Measures how three asynchronous peers of different speeds teach one another, when no public batch comes twice.

    python benchmarks/speeds.py --data folder:cifar10/train --weights resnet18.safetensors

The speeds are 1 : 0.67 : 0.33. Each peer is a real process with a share of a core (see throttled.py). Targets: every
peer has a lesson in >= 0.95 of its steps and a fresh one in >= 0.5 (see docs/architecture.md), and its accuracy is
higher than alone.
"""

import argparse
import json
import tempfile
from pathlib import Path

from throttled import SHARES, run, three_peers

from edgekd.config import to_mapping
from edgekd.files.summary import standard_error
from edgekd.simulation.groups import simulate_lone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--limit", type=int, default=40_000)
    parser.add_argument("--public-fraction", type=float, default=0.2)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    config = three_peers(
        data={"data": given.data, "limit": given.limit, "public_fraction": given.public_fraction},
        model={"weights": given.weights},
        train={"steps": given.steps, "seed": given.seed},
    )
    batches = int(given.limit * given.public_fraction) // config.public_batch
    alone = [simulate_lone(config, id, balance="off") for id in range(3)]
    balanced = [simulate_lone(config, id, balance="on") for id in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        trained = run(Path(folder), config)
    newest = max(each["round"] for peer in trained for each in peer.progress)
    print(f"public batches: {batches}; newest round: {newest} ({'does not recur' if newest < batches else 'RECURS'})")
    print(f"settings: {json.dumps(to_mapping(config))}")
    print("peer  speed  steps  lessons  fresh  alone  alone balanced  together  (standard error)  waits")
    for id, peer in enumerate(each.summary for each in trained):
        accuracies = f"{alone[id].accuracy:.3f}  {balanced[id].accuracy:14.3f}  {peer['accuracy']:8.3f}"
        error = standard_error(peer["accuracy"], peer["evaluation_samples"])
        lessons, fresh = peer["lessons"] / peer["steps"], peer["fresh_lessons"] / peer["steps"]
        speed = SHARES[id] / SHARES[0]
        print(
            f"{id:4}  {speed:5.2f}  {peer['steps']:5}  {lessons:7.3f}  {fresh:5.3f}  "
            f"{accuracies}  {error:16.3f}  {peer['waits']:5}"
        )


if __name__ == "__main__":
    main()
