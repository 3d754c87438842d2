"""The interface through which long work reports its progress."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

# A function that is called with the total amount, such as bytes or images, or 0 if it is unknown. The context that it
# returns gives a function, which is called with how much more is done.
Watch: TypeAlias = Callable[[int], AbstractContextManager[Callable[[int], None]]]


def unwatched(total: int) -> AbstractContextManager[Callable[[int], None]]:
    """A `Watch` that shows nothing."""
    return nullcontext(lambda count: None)
