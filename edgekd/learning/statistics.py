"""The running statistics of batch norm: which forward pass moves them is decided after the pass."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

# Of each batch-norm layer: running mean, running variance, and the number of batches.
Statistics = list[tuple[Tensor, Tensor, Tensor]]


def train_mode(model: nn.Module, in_evaluation: Iterable[nn.Module]) -> None:
    """Put `model` in training mode, but for some of its modules, `in_evaluation`.

    Batch norm in evaluation mode uses its running statistics, and nothing moves them.
    """
    model.train()
    for module in in_evaluation:
        module.eval()


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[Statistics]:
    """Within this block, batch norm in training mode does not update its running statistics. Yields nothing to move."""
    layers = norm_layers(model)
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield []
    finally:
        for layer in layers:
            layer.track_running_stats = True


@contextmanager
def copied_statistics(model: nn.Module) -> Iterator[Statistics]:
    """Within this block, a pass in training mode moves copies of the running statistics; the model keeps its own.

    Yields:
        The copies. After the pass, `move_statistics` may put them in the place of the model's own.
    """
    layers = norm_layers(model)
    own = _statistics(layers)
    copies = [(mean.clone(), variance.clone(), batches.clone()) for mean, variance, batches in own]
    _put(layers, copies)
    try:
        yield copies
    finally:
        _put(layers, own)


def move_statistics(model: nn.Module, statistics: Statistics) -> None:
    """Make `statistics`, from `copied_statistics`, the running statistics of `model`."""
    _put(norm_layers(model), statistics)


@torch.no_grad()
def measure_statistics(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Make the mean statistics over `batches` the running statistics of batch norm, where that is in training mode.

    Args:
        model: takes a batch.
        batches: one or more. None is taken if there is nothing to measure.
    """
    layers = [layer for layer in norm_layers(model) if layer.training]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # each batch counts alike
    for batch in batches:
        model(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def norm_layers(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The layers of batch norm that have running statistics."""
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]


def _statistics(layers: list[nn.modules.batchnorm._BatchNorm]) -> Statistics:
    return [(layer.running_mean, layer.running_var, layer.num_batches_tracked) for layer in layers]  # type: ignore[misc]


def _put(layers: list[nn.modules.batchnorm._BatchNorm], statistics: Statistics) -> None:
    # Other tensors in their place, not other values in them: backward still needs those of earlier passes.
    for layer, (mean, variance, batches) in zip(layers, statistics, strict=True):
        layer.running_mean, layer.running_var, layer.num_batches_tracked = mean, variance, batches
