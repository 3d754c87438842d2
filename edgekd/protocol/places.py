"""The places at a peer's door: which stranger has to go when one more comes. Pure."""

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

Guest = TypeVar("Guest")

MOST = 64  # strangers at once: streams that have not said who they are, or were not admitted yet
MOST_OF_ONE = 4  # of them with one proven id: a peer has one stream, and another one or two while it is restarted


class Places(Generic[Guest]):
    """Strangers and whose they are, the longest silent first.

    No newcomer is turned away: who fills the door loses its own oldest place. Without keys all that is known of a
    stranger is its address, which many may share, so there it takes the most places before it loses one.
    """

    def __init__(self) -> None:
        self._whose: dict[Guest, Hashable] = {}  # in the order in which they came

    def __len__(self) -> int:
        return len(self._whose)

    def enter(self, guest: Guest, *, id: Hashable | None, address: str) -> Guest | None:
        """Give a newcomer a place; returns who loses one for it, if anybody does.

        Args:
            guest: the newcomer.
            id: of the peer, or the observer, whose key it has; None: it has proven nothing.
            address: the host that it speaks from.
        """
        whose = address if id is None else id
        held = Counter(self._whose.values())
        leaves = None
        if id is not None and held[id] >= MOST_OF_ONE:
            leaves = self._oldest(id)
        elif len(self._whose) >= MOST:
            leaves = self._oldest(max(held, key=lambda other: held[other]))
        self._whose[guest] = whose
        return leaves

    def leave(self, guest: Guest) -> None:
        """Free the place of a guest, if it has one."""
        self._whose.pop(guest, None)

    def _oldest(self, whose: Hashable) -> Guest:
        guest = next(guest for guest, owner in self._whose.items() if owner == whose)
        del self._whose[guest]
        return guest
