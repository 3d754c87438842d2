"""Measures what a peer needs more than a bare training script: resident memory, and time until the first step.

    python benchmarks/footprint.py [--model resnet18] [--size PX] [--batch N] [--runs N]

Needs Linux. `bare.py` imports torch and torchvision and trains the same network with the same optimiser, on one batch a
step. The peer has its own pictures and a public file, listens over gRPC, and learns from two neighbours, which another
process replays. Both use one thread and take turns; the table shows medians. The memory is read from outside, after
the same number of steps, when the peer has had lessons. Resident memory includes shared libraries in full; private
memory (the unique set size, USS) belongs to the process alone. Processor time is that of all threads; on a busy machine
wall-clock time says little.

A second table shows where the memory of a peer goes: the resident memory after each part of its start, in one process.

Targets: at most 60 MB of resident memory more than bare, and at most 2 s more to the first step.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STEPS = 10  # after which the memory is read
CLASSES = tuple("0123456789")
PRIVATE, PUBLIC = 400, 512  # images
MB = 1e6
TICK = os.sysconf("SC_CLK_TCK")  # the kernel's units in a second of processor time
SHOWN = {
    "resident": "resident, MB",
    "private": "of it private, MB",
    "peak": "most resident, MB",
    "wall": "start to first step, s",
    "processor": "the same, processor time, s",
}


@dataclass(frozen=True)
class Footprint:
    """The memory and the starting time of one process."""

    resident: float  # MB after `STEPS` steps
    private: float  # MB of it that no other process shares
    peak: float  # MB, the most resident memory
    wall: float  # seconds from its start to the end of its first step
    processor: float  # processor seconds in that time


def fields(pid: int | str, file: str) -> dict[str, int]:
    """Read a file of a process in /proc whose lines have the form ``Name: N kB``: bytes, by name."""
    lines = (line.split() for line in Path(f"/proc/{pid}/{file}").read_text().splitlines())
    return {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines if line[-1] == "kB"}


def resident(pid: int | str) -> tuple[float, float]:
    """The resident and the private memory of a process, in MB."""
    found = fields(pid, "smaps_rollup")
    return found["Rss"] / MB, (found["Private_Clean"] + found["Private_Dirty"]) / MB


def processor_time(pid: int) -> float:
    """The processor time of all threads of a process, in seconds."""
    numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / TICK


def watch(command: Sequence[str], step_in: Callable[[str], tuple[int, bool]], log: Path) -> Footprint:
    """Run a process until it has done `STEPS` steps, and measure it.

    Args:
        command: a command that prints its steps.
        step_in: reads a printed line: the step, and whether the process has done all that is to be measured.
        log: the file for its stderr.

    Raises:
        RuntimeError: the process has ended before.
    """
    began = time.monotonic()
    with log.open("wb") as err, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True) as process:
        assert process.stdout is not None  # it is a pipe
        first: tuple[float, float] | None = None
        try:
            for line in process.stdout:
                step, complete = step_in(line)
                if step and first is None:
                    first = time.monotonic() - began, processor_time(process.pid)
                if first is not None and step >= STEPS and complete:
                    peak = fields(process.pid, "status")["VmHWM"] / MB
                    return Footprint(*resident(process.pid), peak, *first)
        finally:
            process.kill()
    raise RuntimeError(f"{command} has ended too early: {log.read_text()[-2000:]}")


def bare_step(line: str) -> tuple[int, bool]:
    return int(line), True


def peer_step(line: str) -> tuple[int, bool]:
    told = json.loads(line)
    return told.get("step", 0), told.get("distil") is not None


def write_box(folder: Path, model: str, size: int, batch: int) -> Path:
    """Write the pictures, the public file and the settings of a box; return the path of the settings."""
    import numpy as np
    import torch
    from PIL import Image

    from edgekd.config import from_mapping
    from edgekd.data.public import make_public
    from edgekd.files.runs import write_config

    rng = np.random.default_rng(0)
    for number in range(PRIVATE):
        path = folder / "private" / CLASSES[number % len(CLASSES)] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path)
    images = torch.from_numpy(rng.integers(0, 256, (PUBLIC, 3, size, size), dtype=np.uint8))
    make_public(images, CLASSES, "none").save(folder / "public.safetensors")
    data = {"private": f"folder:{folder / 'private'}", "public": str(folder / "public.safetensors")}
    train: dict[str, Any] = {"steps": 0, "batch": batch, "public_batch": batch, "threads": 1}
    train |= {"eval_every": 0, "checkpoint_every": 0}
    settings = {"data": data, "model": {"model": model, "weights": "none"}, "train": train}
    return write_config(folder, from_mapping(settings))


def read_settings(settings: Path) -> Any:
    from edgekd.config import from_mapping
    from edgekd.config.tables import read_toml

    return from_mapping(read_toml(settings))


@contextmanager
def neighbours(settings: Path) -> Iterator[str]:
    """Run two neighbours in another process, which answer every round; yields their addresses for --peers."""
    from overhead import replay

    from edgekd.contract import make_contract
    from edgekd.data.datasets import own_public

    config = read_settings(settings)
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=replay, args=(make_contract(own_public(config.data), config), theirs), daemon=True)
    process.start()
    try:
        yield ",".join(ours.recv())
    finally:
        ours.send("end")
        process.join()


def compare(folder: Path, model: str, size: int, batch: int, runs: int) -> None:
    """Run the bare script and a peer in turns, and print the table; then print the table of `stages`."""
    settings, here = write_box(folder, model, size, batch), Path(__file__).parent
    bare = [sys.executable, str(here / "bare.py"), model, str(size), str(batch)]
    found: tuple[list[Footprint], list[Footprint]] = ([], [])
    with neighbours(settings) as addresses:
        peer = [sys.executable, "-m", "edgekd", "peer", "--config", str(settings), "--json", "--id", "0", "--nice", "0"]
        peer += ["--listen", "127.0.0.1:0", "--peers", addresses, "--out"]
        for run in range(runs):
            out = folder / f"run-{run}"
            both = [(bare, bare_step, found[0]), ([*peer, str(out)], peer_step, found[1])]
            for command, step_in, into in both[:: -1 if run % 2 else 1]:  # alternate which comes first
                into.append(watch(command, step_in, folder / "stderr"))
    print("| | bare | peer | more | ratio |\n| --- | ---: | ---: | ---: | ---: |")
    for field, what in SHOWN.items():
        pairs = [(getattr(a, field), getattr(b, field)) for a, b in zip(*found, strict=True)]
        middle = [statistics.median(each) for each in zip(*pairs, strict=True)]
        more = statistics.median(b - a for a, b in pairs)
        ratio = statistics.median(b / a for a, b in pairs)
        form = ".0f" if what.endswith("MB") else ".2f"
        cells = [what, *(f"{value:{form}}" for value in (*middle, more)), f"{ratio:.2f}"]
        print(f"| {' | '.join(cells)} |")
    print()
    subprocess.run([sys.executable, __file__, "--stages", str(settings)], check=True)


def stages(settings: Path) -> None:
    """Do each part of a peer's start, one after the other, and print the resident memory after each."""
    last, clock = 0.0, 0.0

    def done(what: str) -> None:
        nonlocal last, clock
        (now, private), taken = resident("self"), time.process_time()
        print(f"| {what} | {now - last:.0f} | {now:.0f} | {private:.0f} | {taken - clock:.2f} |", flush=True)
        last, clock = now, time.process_time()

    print("| part | adds, MB | resident, MB | private, MB | processor time, s |")
    print("| --- | ---: | ---: | ---: | ---: |")
    done("Python")
    import torch

    done("torch")
    import torchvision  # noqa: F401

    done("torchvision")
    import edgekd.cli.peer  # noqa: F401
    import peer.node.start  # noqa: F401

    done("edgekd")
    from edgekd.data.datasets import load_peer_data

    torch.set_num_threads(1)
    config = read_settings(settings)
    data = load_peer_data(config.data, 0, 0)
    done("pictures")
    network = network_of(config, data.public)
    network.start()
    done("gRPC")
    from edgekd.learning.learner import Learner
    from edgekd.protocol.messages import Goodbye, Lesson, Parting

    learner = Learner(data, config, 0)
    done("network, tried once")
    taught = torch.full((1, config.public_batch, len(CLASSES)), 1 / len(CLASSES))
    for round in range(STEPS):
        learner.teach(round)
        learner.study()
        learner.learn(Lesson(max(0, round - 1), {1: taught, 2: taught}))
    done("training: momentum, gradients, activations")
    learner.evaluate(data.evaluation)
    done("evaluation")
    network.stop(Goodbye(parting=Parting.LEAVING))


def network_of(config: Any, public: Any) -> Any:
    """Make the connections (a `Network`) of a peer that listens and dials no neighbours."""
    from edgekd.protocol.encodings import Packing
    from edgekd.protocol.frames import longest_frame
    from peer.network.thread import Network
    from peer.node.start import hello_of
    from peer.transports.by_name import make_transport

    hello = hello_of(config, 0, public)
    return Network(
        lambda: make_transport("grpc", longest_frame(hello.contract)),
        hello,
        listen="127.0.0.1:0",
        peers=(),
        lockstep=False,
        packing=Packing.parse(config.exchange.encoding),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18", help="one of torchvision's classifiers")
    parser.add_argument("--size", type=int, default=32, help="side of the images, in pixels")
    parser.add_argument("--batch", type=int, default=32, help="private images a step, and public ones")
    parser.add_argument("--runs", type=int, default=5, help="of each")
    parser.add_argument("--stages", type=Path, help=argparse.SUPPRESS)  # the second table, of these settings
    given = parser.parse_args()
    if given.stages is not None:
        stages(given.stages)
        return
    with tempfile.TemporaryDirectory(prefix="footprint-") as name:
        compare(Path(name), given.model, given.size, given.batch, given.runs)


if __name__ == "__main__":
    main()
