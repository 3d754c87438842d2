"""What each measure costs: forward and backward, as a ratio to torch's own kl_div (log_softmax included in both).

    python benchmarks/measures.py

One thread, float32, all measures interleaved in one run, medians. Target: each at most 1.3 at [256, 397], and of the
divergences TD the cheapest.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.measures import MEASURES, dissimilarity

SHAPES = ((256, 10), (256, 397))
ROUNDS = 500


def backward(loss: Callable[[Tensor], Tensor], logits: Tensor) -> None:
    torch.autograd.backward(loss(logits.detach().requires_grad_()))


def kl_div(z: Tensor, *, q: Tensor) -> Tensor:
    return F.kl_div(F.log_softmax(z, dim=-1), q, reduction="batchmean")


def ours(z: Tensor, *, q: Tensor, measure: str) -> Tensor:
    return dissimilarity(measure, q, z).mean()


def medians(shape: tuple[int, int]) -> dict[str, float]:
    """Seconds a forward and backward pass."""
    logits = 3 * torch.randn(shape)
    q = F.softmax(3 * torch.randn(shape), dim=-1)
    losses = {"torch kl_div": partial(kl_div, q=q)} | {m: partial(ours, q=q, measure=m) for m in MEASURES}
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    for _ in range(ROUNDS):
        for name, loss in losses.items():
            start = time.perf_counter()
            backward(loss, logits)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # As after any training step: malloc, having seen a large block freed, keeps small ones rather than give each back.
    torch.empty(2**22)
    results = [medians(shape) for shape in SHAPES]
    print(f"{'measure':14}" + "".join(f"{list(shape)!s:>24}" for shape in SHAPES))
    for name in results[0]:
        cells = (f"{r[name] * 1e6:10.0f} us{r[name] / r['torch kl_div']:9.2f} x" for r in results)
        print(f"{name:14}" + "".join(f"{cell:>24}" for cell in cells))


if __name__ == "__main__":
    main()
