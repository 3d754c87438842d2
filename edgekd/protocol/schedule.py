"""When a peer broadcasts, and about which round.

A round names a public batch, nothing more. A peer follows its neighbours' rounds. With three or more neighbours, one
liar cannot separate it from the others: see `heard_round`.
"""

from collections.abc import Iterable

from edgekd.protocol.members import Member
from edgekd.protocol.messages import MAX_ROUND

REACH = 2**20  # rounds ahead up to which a peer follows a single neighbour
# No group gets so far by itself. Up to here a peer follows a majority at once; beyond it only by so many rounds a
# broadcast, so that no majority of liars takes away the rounds that are left, and peers of different speed that it has
# carried off are still within reach of one another.
HALFWAY = MAX_ROUND // 2
STRIDE = 2**12


def is_due(step: int, broadcast_every: int) -> bool:
    """Whether a peer broadcasts in this step of its own."""
    return step % broadcast_every == 0


def lockstep_round(step: int, broadcast_every: int) -> int:
    """The round of a step in synchronous mode."""
    return step // broadcast_every


def heard_round(published: int, group: Iterable[Member]) -> int:
    """The round that a peer should move to, by its neighbours' rounds: max(N, M); -1 if nobody has published.

    M is the lower median of the neighbours' rounds, if two or more have published. So a newcomer to a group that is far
    ahead joins it at once, and one liar among three neighbours cannot move M out of the others' range. M is at most
    `HALFWAY`, or `STRIDE` ahead if that is more. So whatever a majority of liars claims, rounds are left, and peers
    that were carried off go on teaching one another when the liars have gone.

    N is the largest round that is at most min(published, U) + `REACH`, where U is the upper median. So peers of
    different speed follow the fastest of them. One liar among three neighbours cannot lead a peer away from the others,
    in small steps either; it can move the whole group, by up to `REACH` a broadcast, which does no harm. A single
    neighbour that claims a round farther ahead is ignored.

    Args:
        published: the newest round that this peer has published; -1: none.
        group: its neighbours; those that are down, or have published nothing, do not count.
    """
    rounds = sorted(member.round for member in group if member.up and member.round >= 0)
    count = len(rounds)
    if count == 0:
        return -1
    upper = rounds[count // 2]
    near = [round for round in rounds if round <= min(published, upper) + REACH]
    lower = [min(rounds[(count - 1) // 2], max(HALFWAY, published + STRIDE))] if count >= 2 else []
    return max(near + lower, default=-1)


def next_round(published: int, group: Iterable[Member]) -> int:
    """The round of a peer's next broadcast in asynchronous mode: its own next one, or where its neighbours are.

    After the last round of all it is that round again, about which the peer must not teach twice.
    """
    return min(max(published + 1, heard_round(published, group)), MAX_ROUND - 1)
