"""What threads and bfloat16 bring: the time of a training step against one with one thread in float32.

    python benchmarks/computing.py [--models resnet18,mobilenet_v3_small] [--size PX] [--threads 2] [--blocks N]

One process has a learner for each way of computing: 32 private and 32 public images a step, and lessons of two
teachers. The ways take turns, a step each, so whatever else the machine does meets all of them. Of each the fastest
step counts, on the wall: another program can only lengthen a step. What is printed are ratios of these.
"""

import argparse
import time
from typing import Any

import torch

from edgekd.config import from_mapping
from edgekd.data.datasets import load_peer_data
from edgekd.learning.learner import Learner
from edgekd.protocol.messages import Lesson


def learner(model: str, size: int, precision: str) -> Learner:
    data: dict[str, Any] = {"data": "digits", "limit": 400, "size": size}
    config = from_mapping({"data": data, "model": {"model": model}, "train": {"steps": 0, "precision": precision}})
    return Learner(load_peer_data(config.data, 0, seed=0), config, 0)


def step(of: Learner) -> float:
    """The seconds of one step."""
    taught = {id: torch.full((1, 32, 10), 0.1) for id in (1, 2)}
    began = time.perf_counter()
    of.teach(of.step)
    of.study()
    of.learn(Lesson(max(0, of.step - 1), taught))
    return time.perf_counter() - began


def measure(model: str, size: int, ways: list[tuple[int, str]], blocks: int) -> list[float]:
    """The seconds of the fastest step of each way: threads and precision."""
    learners = [learner(model, size, precision) for _, precision in ways]
    fastest = [float("inf")] * len(ways)
    for block in range(blocks + 2):
        for number, (threads, _) in enumerate(ways):
            torch.set_num_threads(threads)
            took = step(learners[number])
            if block >= 2:  # the first steps are slow
                fastest[number] = min(fastest[number], took)
    return fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="resnet18,mobilenet_v3_small")
    parser.add_argument("--size", type=int, default=32, help="side of the images, in pixels")
    parser.add_argument("--threads", type=int, default=2, help="what one thread is compared with")
    parser.add_argument("--blocks", type=int, default=30)
    arguments = parser.parse_args()
    ways = [(1, "float32"), (arguments.threads, "float32"), (1, "bfloat16"), (arguments.threads, "bfloat16")]
    print(f"| network | {' | '.join(f'{threads} thread(s), {precision}' for threads, precision in ways)} |")
    print(f"| --- |{' ---: |' * len(ways)}")
    for model in arguments.models.split(","):
        took = measure(model, arguments.size, ways, arguments.blocks)
        print(f"| `{model}` | {' | '.join(f'{seconds / took[0]:.2f}' for seconds in took)} |")


if __name__ == "__main__":
    main()
