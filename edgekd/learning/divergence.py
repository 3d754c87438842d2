"""Divergence: training has failed if predictions, losses or weights contain NaN or infinity."""

from collections.abc import Iterable

import torch
from torch import Tensor

from edgekd.errors import DivergedError


def check_finite(tensors: Iterable[Tensor], id: int, step: int) -> None:
    """Check that a learner has not diverged.

    Args:
        tensors: the learner's predictions or its state. The check waits once for their device.
        id: the learner's id, for the message.
        step: the learner's step, for the message.

    Raises:
        DivergedError: a tensor contains NaN or infinity.
    """
    # If a value is NaN, so are the extremes. They need no memory, while a mask as large as the weights might not fit.
    extremes = [torch.stack(t.aminmax()).double() for t in tensors if t.is_floating_point() and t.numel()]
    if extremes and not torch.stack(extremes).isfinite().all():
        raise diverged(id, step)


def diverged(id: int, step: int) -> DivergedError:
    """The error for a learner that has diverged."""
    return DivergedError(
        f"training of learner {id} has diverged by step {step}: its numbers are NaN or infinite; "
        "use a smaller --lr, --kd-weight or --momentum"
    )
