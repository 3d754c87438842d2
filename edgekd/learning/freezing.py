"""Freezing layers, so that they keep their pretrained weights.

The first layers of a pretrained network detect edges and textures, which are the same in most pictures. If they are
frozen, they need no backward pass and no optimiser state, and a few hundred pictures cannot spoil them.

Source: Yosinski et al. 2014, How transferable are features in deep neural networks?
"""

import math

from torch import nn


def freeze(network: nn.Module, fraction: float) -> list[nn.Module]:
    """Freeze the first layers of `network`: their weights get no gradient.

    A layer is a module whose `weight` has two or more dimensions, such as a convolution. Layers are counted in the
    order in which the network registers them. Modules between two frozen layers, or after the last frozen one, are also
    frozen.

    Args:
        network: the network without its heads.
        fraction: the fraction of layers to freeze, in [0, 1], rounded down to whole layers. 1: the whole network.

    Returns:
        The frozen modules, except those that contain unfrozen modules. They must stay in evaluation mode, so that batch
        norm uses the statistics that belong to their weights.
    """
    layers = sum(map(_is_layer, network.modules()))
    most = math.floor(fraction * layers + 1e-9)  # for example, 0.29 of 100 layers are 29
    found, frozen = 0, set()
    for module in network.modules() if most else ():
        found += _is_layer(module)
        if found > most:
            break
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)
        frozen.add(module)
    return [module for module in network.modules() if frozen.issuperset(module.modules())]


def _is_layer(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, nn.Parameter) and weight.dim() >= 2
