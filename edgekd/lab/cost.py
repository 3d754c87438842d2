"""What each measure costs: forward and backward, timed in this process as a multiple of KL's."""

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.measures import dissimilarity

TIMED = ("ce", "kl", "js", "td", "sed")
SHAPES = ((256, 10), (256, 397))  # [batch, classes]: of CIFAR-10, of SUN397

Ratios = dict[str, dict[str, Sequence[float]]]  # by shape, then measure: a number for each block


def measure_ratios(blocks: int = 10, passes: int = 25) -> Ratios:
    """Time all measures, one after another in turn, on one thread, float32.

    Args:
        blocks: how many independent numbers each measure gets.
        passes: of each measure in a block; their median counts.

    Returns:
        By shape, such as ``[256, 10]``, and measure: the median time of each block, in KL's of the same block.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    # As after any training step: malloc, having seen a large block freed, keeps small ones rather than give each back.
    torch.empty(2**22)
    try:
        return {str(list(shape)): _ratios(shape, blocks, passes) for shape in SHAPES}
    finally:
        torch.set_num_threads(threads)


def _ratios(shape: tuple[int, int], blocks: int, passes: int) -> dict[str, Sequence[float]]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(shape, generator=generator)
    q = F.softmax(3 * torch.randn(shape, generator=generator), dim=-1)
    for measure in TIMED:  # the first pass of each is slow
        _seconds(measure, q, logits)
    ratios: dict[str, list[float]] = {measure: [] for measure in TIMED}
    for _ in range(blocks):
        times: dict[str, list[float]] = defaultdict(list)
        for _ in range(passes):
            for measure in TIMED:
                times[measure].append(_seconds(measure, q, logits))
        middle = {measure: statistics.median(seconds) for measure, seconds in times.items()}
        for measure in TIMED:
            ratios[measure].append(middle[measure] / middle["kl"])
    return {measure: tuple(values) for measure, values in ratios.items()}


def _seconds(measure: str, q: Tensor, logits: Tensor) -> float:
    z = logits.detach().requires_grad_()
    began = time.perf_counter()
    torch.autograd.backward(dissimilarity(measure, q, z).mean())
    return time.perf_counter() - began
