"""Layers that stay as they are pretrained.

The first layers of a pretrained network see edges and textures, which are the same in most pictures. Left alone, they
cost no backward pass and no state of the optimiser, and a few hundred pictures cannot spoil them.

Source: Yosinski et al. 2014, How transferable are features in deep neural networks?
"""

import math

from torch import nn


def freeze(network: nn.Module, fraction: float) -> list[nn.Module]:
    """Freeze the first layers of `network`: their weights get no gradient.

    A layer is a module whose `weight` is a matrix or has more dimensions, such as a convolution. The layers are counted
    in the order in which the network registers them, and whatever lies between two frozen layers, or after the last
    one, is frozen too.

    Args:
        network: without its heads.
        fraction: of the layers, in [0, 1]; it is rounded down to whole layers. 1: the whole network.

    Returns:
        The frozen modules but those that hold unfrozen ones. They must stay in evaluation mode, so that batch norm uses
        the statistics that go with their weights.
    """
    layers = sum(map(_is_layer, network.modules()))
    most = math.floor(fraction * layers + 1e-9)  # 0.29 of 100 layers are 29
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
