"""When a peer broadcasts, about which round (the group's counter is a Lamport clock)."""

from dataclasses import dataclass, replace

from edgekd.protocol.messages import MAX_ROUND


@dataclass(frozen=True, slots=True)
class Rounds:
    """A peer's view of the group's round."""

    published: int = -1  # the newest round that this peer has published; -1: none
    heard: int = -1  # the newest that it has heard of; -1: none

    @property
    def newest(self) -> int:
        return max(self.published, self.heard)

    def hear(self, round: int) -> "Rounds":
        """A neighbour spoke of `round`."""
        return self if round <= self.heard else replace(self, heard=round)

    def advance(self) -> "Rounds":
        """This peer broadcasts: one further than it was itself, or at the newest that it has heard of."""
        return replace(self, published=min(max(self.published + 1, self.heard), MAX_ROUND - 1))


def is_due(step: int, broadcast_every: int) -> bool:
    """Whether a peer broadcasts in this step of its own."""
    return step % broadcast_every == 0


def lockstep_round(step: int, broadcast_every: int) -> int:
    """The round of a step in synchronous mode."""
    return step // broadcast_every
