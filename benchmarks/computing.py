"""Measures how much several threads, or bfloat16, speed up a training step, against one thread in float32.

    python benchmarks/computing.py [--models resnet18,mobilenet_v3_small] [--size PX] [--threads 2] [--blocks N]

One process has a learner for each way of computing. A step has 32 private and 32 public images, and a lesson of two
teachers. The learners take turns, a step each, so that other programs slow down all of them alike. Several threads are
compared by the wall-clock time of the fastest step, since another program can only make a step longer; run this on a
machine that does little else. bfloat16 is compared by processor time: the median over the turns of the ratio.
"""

import argparse
import statistics
import time
from typing import Any

import torch

from edgekd.config import from_mapping
from edgekd.data.datasets import load_peer_data
from edgekd.learning.learner import Learner
from edgekd.protocol.messages import Lesson

SLOW = 2  # the first steps of a process


def learner(model: str, size: int, precision: str) -> Learner:
    data: dict[str, Any] = {"data": "digits", "limit": 400, "size": size}
    config = from_mapping({"data": data, "model": {"model": model}, "train": {"steps": 0, "precision": precision}})
    return Learner(load_peer_data(config.data, 0, seed=0), config, 0)


def step(of: Learner, threads: int) -> tuple[float, float]:
    """The wall-clock seconds and the processor seconds of one step."""
    torch.set_num_threads(threads)
    taught = {id: torch.full((1, 32, 10), 0.1) for id in (1, 2)}
    wall, processor = time.perf_counter(), time.process_time()
    of.teach(of.step)
    of.study()
    of.learn(Lesson(max(0, of.step - 1), taught))
    return time.perf_counter() - wall, time.process_time() - processor


def measure(model: str, size: int, threads: int, blocks: int) -> tuple[float, float]:
    """The time of a step with `threads` threads, and of a step in bfloat16, as ratios to one thread in float32."""
    plain, reduced = (learner(model, size, precision) for precision in ("float32", "bfloat16"))
    several = learner(model, size, "float32")
    turns = [(step(plain, 1), step(several, threads), step(reduced, 1)) for _ in range(SLOW + blocks)][SLOW:]
    fastest = [min(turn[way][0] for turn in turns) for way in (0, 1)]
    return fastest[1] / fastest[0], statistics.median(b[1] / a[1] for a, _, b in turns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="resnet18,mobilenet_v3_small")
    parser.add_argument("--size", type=int, default=32, help="side of the images, in pixels")
    parser.add_argument("--threads", type=int, default=2, help="what one thread is compared with")
    parser.add_argument("--blocks", type=int, default=30, help="turns")
    arguments = parser.parse_args()
    print(f"| network | {arguments.threads} threads | bfloat16 |")
    print("| --- | ---: | ---: |")
    for model in arguments.models.split(","):
        threads, bfloat16 = measure(model, arguments.size, arguments.threads, arguments.blocks)
        print(f"| `{model}` | {threads:.2f} | {bfloat16:.2f} |", flush=True)


if __name__ == "__main__":
    main()
