"""The places at a peer's door: they limit how many strangers are connected at once.

A stranger is a stream that has not said who it is, or that was not admitted yet. If the door is full, another stranger
must leave when a new one comes.
"""

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

Guest = TypeVar("Guest")

MOST = 64  # strangers at once
MOST_OF_ONE = 4  # strangers at once with one proven id: a peer has one stream, and one or two more while it restarts


class Places(Generic[Guest]):
    """The strangers at the door, by the id or the address that each belongs to, oldest first.

    A new stranger is never turned away; another one leaves for it if necessary. A stranger with a key is known by its
    proven id, and an id may hold `MOST_OF_ONE` places. Without keys only the stranger's host is known, which many
    strangers may share, so a host may hold many places. If all places are taken, the id or host that holds the most
    loses its oldest one.
    """

    def __init__(self) -> None:
        self._whose: dict[Guest, Hashable] = {}  # in order of arrival

    def __len__(self) -> int:
        return len(self._whose)

    def enter(self, guest: Guest, *, id: Hashable | None, address: str) -> Guest | None:
        """Give a new stranger a place.

        Args:
            guest: the new stranger.
            id: the peer id or observer whose key it has proved to hold; None: it has proved nothing.
            address: the host from which it connects.

        Returns:
            The stranger that loses its place for it, or None.
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
