"""Measures what a step costs in larger groups: K small learners in one process, on three graphs of neighbours.

    python benchmarks/clients.py [--clients 4,16,64] [--steps N] [--jobs N]

The graphs are a ring, a random regular graph and a full graph. Prints steps/s of the group and the time of one
learner's step, with its ratio to that in the smallest group: 1 if the cost of a step of the group is linear in K.
"""

import argparse
import time

import torch

from edgekd.config import Config, from_mapping
from edgekd.simulation.box import StepReport
from edgekd.simulation.groups import simulate


def config(clients: int, steps: int, topology: str) -> Config:
    return from_mapping(
        {
            "data": {"data": "digits", "clients": clients, "iid": True},
            "model": {"model": "mobilenet_v3_small"},
            "train": {"steps": steps + 1, "batch": 8, "public_batch": 8, "eval_every": 0},
            "exchange": {"topology": topology},
        }
    )


def seconds(clients: int, steps: int, topology: str, jobs: int) -> float:
    """The seconds of `steps` steps of the whole group, without the start and without the final evaluation."""
    ends: list[float] = []

    def note(report: StepReport) -> None:
        if report.id == clients - 1:
            ends.append(time.perf_counter())

    simulate(config(clients, steps, topology), note, jobs=jobs)
    return ends[-2] - ends[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default="4,16,64")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("topology   clients  steps/s  ms a learner's step  x the smallest group's")
    for topology in ("ring", "regular:3", "full"):
        first = None
        for clients in map(int, arguments.clients.split(",")):
            took = seconds(clients, arguments.steps, topology, arguments.jobs) / (arguments.steps - 1)
            one = took / clients * 1000
            first = first or one
            print(f"{topology:<10} {clients:7d}  {1 / took:7.2f}  {one:19.1f}  {one / first:22.2f}")


if __name__ == "__main__":
    main()
