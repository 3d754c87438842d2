"""Whether training has diverged: NaN or an infinity among predictions, losses or weights."""

from collections.abc import Iterable

import torch
from torch import Tensor

from edgekd.errors import DivergedError


def check_finite(tensors: Iterable[Tensor], id: int, step: int) -> None:
    """Check that a learner has not diverged.

    Args:
        tensors: what it says, or its state; waits for their device, once.
        id: whose they are, and
        step: how far it is, for the message.

    Raises:
        DivergedError: one of them holds NaN or an infinity.
    """
    # Extremes, which NaN passes through, take no memory: what would hold a mask of all weights may not be there.
    extremes = [torch.stack(t.aminmax()).double() for t in tensors if t.is_floating_point() and t.numel()]
    if extremes and not torch.stack(extremes).isfinite().all():
        raise diverged(id, step)


def diverged(id: int, step: int) -> DivergedError:
    """The error of a learner that has."""
    return DivergedError(
        f"training of learner {id} has diverged by step {step}: its numbers are NaN or infinite; "
        "use a smaller --lr, --kd-weight or --momentum"
    )
