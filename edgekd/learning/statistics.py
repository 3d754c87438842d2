"""The running statistics of batch norm, so that after a forward pass it can be decided whether they are updated."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

# For each batch-norm layer: running mean, running variance, and the number of batches.
Statistics = list[tuple[Tensor, Tensor, Tensor]]


def train_mode(model: nn.Module, in_evaluation: Iterable[nn.Module]) -> None:
    """Put `model` in training mode, except for the modules `in_evaluation`.

    Batch norm in evaluation mode uses its running statistics and does not change them.
    """
    model.train()
    for module in in_evaluation:
        module.eval()


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[Statistics]:
    """A context manager: in its block, batch norm in training mode does not update its running statistics.

    Yields:
        An empty list: there are no statistics to move, unlike with `copied_statistics`, which is used in the same way.
    """
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
    """A context manager: in its block, passes in training mode update copies of the model's running statistics.

    Yields:
        The copies. After the pass, `move_statistics` can make them the model's own.
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
    """Set the running statistics of batch norm in training mode to the mean statistics over `batches`.

    Args:
        model: a network that takes a batch.
        batches: one or more batches. If there is nothing to measure, none is read.
    """
    layers = [layer for layer in norm_layers(model) if layer.training]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # all batches have equal weight
    for batch in batches:
        model(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def norm_layers(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The batch-norm layers that have running statistics."""
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]


def _statistics(layers: list[nn.modules.batchnorm._BatchNorm]) -> Statistics:
    return [(layer.running_mean, layer.running_var, layer.num_batches_tracked) for layer in layers]  # type: ignore[misc]


def _put(layers: list[nn.modules.batchnorm._BatchNorm], statistics: Statistics) -> None:
    # The tensors are exchanged, not overwritten: the backward pass still needs the values of earlier passes.
    for layer, (mean, variance, batches) in zip(layers, statistics, strict=True):
        layer.running_mean, layer.running_var, layer.num_batches_tracked = mean, variance, batches
