"""Measures what each network costs a box: parameters, size of a checkpoint, time of a step, and memory.

    python benchmarks/networks.py [--models resnet18,timm:mobilenetv4_conv_small,...] [--size PX] [--blocks N]

Each network is trained by a learner in its own process, with one thread. A step has 32 private and 32 public images,
and a lesson of two teachers. The time of a step is processor time, which other programs disturb less than wall-clock
time. The processes take turns, a block of steps each, so that other programs slow down all of them alike. Ratios to the
first network are medians over the blocks. Memory is the largest resident memory, with PyTorch's. It is read from
/proc, so this needs Linux.
"""

import argparse
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch

from edgekd.config import Config, from_mapping
from edgekd.data.datasets import load_peer_data
from edgekd.files.tensors import safetensors_pieces
from edgekd.learning.learner import Learner
from edgekd.protocol.messages import Lesson

MODELS = "resnet18,mobilenet_v3_small,efficientnet_b0"
MODELS += ",timm:mobilenetv4_conv_small,timm:edgenext_xx_small,timm:efficientvit_b0"
STEPS = 2  # in a block
MB = 1e6


class Cost(NamedTuple):
    """The costs of one network, except for its time."""

    parameters: int  # their number
    checkpoint: int  # bytes
    resident: int  # bytes, the most


def config(model: str, size: int) -> Config:
    data: dict[str, Any] = {"data": "digits", "limit": 400, "size": size}
    return from_mapping({"data": data, "model": {"model": model}, "train": {"steps": 0}})


def serve(model: str, size: int, pipe: Connection) -> None:
    """In a child process: for each message do a block of steps and send their mean seconds; after None, a `Cost`."""
    torch.set_num_threads(1)
    chosen = config(model, size)
    data = load_peer_data(chosen.data, 0, seed=0)
    learner = Learner(data, chosen, 0)
    taught = {id: torch.full((1, chosen.public_batch, len(data.classes)), 1 / len(data.classes)) for id in (1, 2)}
    while pipe.recv() is not None:
        began = time.process_time()
        for _ in range(STEPS):
            learner.teach(learner.step)
            learner.study()
            learner.learn(Lesson(max(0, learner.step - 1), taught))
        pipe.send((time.process_time() - began) / STEPS)
    parameters = sum(parameter.numel() for parameter in learner.model.parameters())
    checkpoint = sum(len(piece) for piece in safetensors_pieces(learner.state(), {}))
    pipe.send(Cost(parameters, checkpoint, most_resident()))


def most_resident() -> int:
    """The largest resident memory of this process so far, in bytes. getrusage would also count that of its parent."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def measure(models: list[str], size: int, blocks: int) -> tuple[dict[str, list[float]], dict[str, Cost]]:
    """For each network the seconds of a step in each block, and the costs."""
    spawn = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for model in models:
        pipes[model], theirs = spawn.Pipe()
        spawn.Process(target=serve, args=(model, size, theirs), daemon=True).start()
    seconds: dict[str, list[float]] = {model: [] for model in models}
    for block in range(blocks + 1):
        for model, pipe in pipes.items():
            pipe.send("a block")
            took = pipe.recv()
            if block > 0:  # the first steps of a process are slow
                seconds[model].append(took)
    costs = {}
    for model, pipe in pipes.items():
        pipe.send(None)
        costs[model] = pipe.recv()
    return seconds, costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS, help="the first is what the others are compared with")
    parser.add_argument("--size", type=int, default=96, help="side of the images, in pixels")
    parser.add_argument("--blocks", type=int, default=10)
    arguments = parser.parse_args()
    models = arguments.models.split(",")
    seconds, costs = measure(models, arguments.size, arguments.blocks)
    first = costs[models[0]]
    print("| network | parameters | checkpoint | a step | resident memory |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for model in models:
        cost = costs[model]
        step = statistics.median(seconds[model])
        slower = statistics.median(a / b for a, b in zip(seconds[model], seconds[models[0]], strict=True))
        cells = [
            f"{cost.parameters / 1e6:.1f} M ({cost.parameters / first.parameters:.2f})",
            f"{cost.checkpoint / MB:.0f} MB ({cost.checkpoint / first.checkpoint:.2f})",
            f"{step * 1000:.0f} ms ({slower:.2f})",
            f"{cost.resident / MB:.0f} MB ({cost.resident / first.resident:.2f})",
        ]
        print(f"| `{model}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
