"""When a peer broadcasts, and about which round.

A round names a public batch, nothing more. So a peer follows its neighbours' rounds, but no single neighbour can carry
it off: see `next_round`.
"""

from collections.abc import Iterable

from edgekd.protocol.members import Member
from edgekd.protocol.messages import MAX_ROUND

REACH = 2**20  # rounds ahead up to which a peer follows a single neighbour


def is_due(step: int, broadcast_every: int) -> bool:
    """Whether a peer broadcasts in this step of its own."""
    return step % broadcast_every == 0


def lockstep_round(step: int, broadcast_every: int) -> int:
    """The round of a step in synchronous mode."""
    return step // broadcast_every


def heard_round(published: int, group: Iterable[Member]) -> int:
    """The round to which the neighbours call a peer; -1: to none.

    It is the larger of two. The first is the lower median of the neighbours' rounds, if two or more have published: a
    newcomer to a group that is far ahead joins it at once, and one liar among three neighbours cannot move the median
    out of the others' range. The second is the largest round of a neighbour that is at most `REACH` ahead of this peer
    and of that median: peers of different speed follow the fastest of them, and no neighbour can lead a peer away from
    the others in steps of `REACH`. A single neighbour that claims a round farther ahead is ignored.

    Args:
        published: the newest round that this peer has published; -1: none.
        group: its neighbours; those that are down, or have published nothing, do not count.
    """
    rounds = sorted(member.round for member in group if member.up and member.round >= 0)
    if len(rounds) < 2:
        return max((round for round in rounds if round <= published + REACH), default=-1)
    median = rounds[(len(rounds) - 1) // 2]
    return max(median, *(round for round in rounds if round <= min(published, median) + REACH), -1)


def next_round(published: int, group: Iterable[Member]) -> int:
    """The round of a peer's next broadcast in asynchronous mode: its own next one, or where its neighbours are."""
    return min(max(published + 1, heard_round(published, group)), MAX_ROUND - 1)
