"""How whoever shows the progress of long work is told of it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

# It is called with the total, such as bytes or images, 0 where that is not known. What its context gives is called with
# how much more is done.
Watch: TypeAlias = Callable[[int], AbstractContextManager[Callable[[int], None]]]


def unwatched(total: int) -> AbstractContextManager[Callable[[int], None]]:
    """A `Watch` that shows nothing."""
    return nullcontext(lambda count: None)
