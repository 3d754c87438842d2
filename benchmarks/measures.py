"""Measures the time of each measure, forward and backward, as a ratio to that of KL.

    python benchmarks/measures.py
    python benchmarks/measures.py --out experiments/results/cifar10    # cost.csv, for `edgekd report`

It uses one thread and float32. The measures take turns in one run, and the median of each block of passes is taken.
torch's own kl_div (with log_softmax) is measured, too. Targets: each measure takes at most 1.3 times as long as kl_div
at [256, 397], and TD is the fastest of the divergences.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.lab.findings.cost import Ratios, write_ratios
from edgekd.losses.measures import MEASURES, unchecked_dissimilarity

SHAPES = ((256, 10), (256, 397))  # [batch, classes]: of CIFAR-10, of SUN397
BLOCKS, PASSES = 20, 50


def kl_div(z: Tensor, *, q: Tensor) -> Tensor:
    return F.kl_div(F.log_softmax(z, dim=-1), q, reduction="batchmean")


def ours(z: Tensor, *, q: Tensor, measure: str) -> Tensor:
    return unchecked_dissimilarity(measure, q, z, 1.0).mean()


def seconds(loss: Callable[[Tensor], Tensor], logits: Tensor) -> float:
    z = logits.detach().requires_grad_()
    began = time.perf_counter()
    torch.autograd.backward(loss(z))
    return time.perf_counter() - began


def blocks(shape: tuple[int, int]) -> list[dict[str, float]]:
    """For each block of passes the median seconds of a pass, by measure."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(shape, generator=generator)
    q = F.softmax(3 * torch.randn(shape, generator=generator), dim=-1)
    losses = {"torch kl_div": partial(kl_div, q=q)} | {m: partial(ours, q=q, measure=m) for m in MEASURES}
    for loss in losses.values():  # the first pass of each is slow
        seconds(loss, logits)
    found = []
    for _ in range(BLOCKS):
        times: dict[str, list[float]] = {name: [] for name in losses}
        for _ in range(PASSES):
            for name, loss in losses.items():
                times[name].append(seconds(loss, logits))
        found.append({name: statistics.median(each) for name, each in times.items()})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, metavar="DIR", help="write cost.csv into DIR")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    # After freeing a large block, as in any training step, malloc keeps small blocks and does not return each one.
    torch.empty(2**22)
    results = {str(list(shape)): blocks(shape) for shape in SHAPES}
    names = list(next(iter(results.values()))[0])
    ratios: Ratios = {
        shape: {name: [block[name] / block["kl"] for block in found] for name in names}
        for shape, found in results.items()
    }
    print(f"{'measure':14}" + "".join(f"{shape:>24}" for shape in results))
    for name in names:
        microseconds = (statistics.median(block[name] for block in found) * 1e6 for found in results.values())
        cells = (
            f"{us:10.0f} us{statistics.median(ratios[shape][name]):9.2f} x"
            for us, shape in zip(microseconds, results, strict=True)
        )
        print(f"{name:14}" + "".join(f"{cell:>24}" for cell in cells))
    if out:
        write_ratios(out, ratios)


if __name__ == "__main__":
    main()
