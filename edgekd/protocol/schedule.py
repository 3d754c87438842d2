"""When a peer broadcasts, and about which round.

A round is a number that names a public batch, and nothing more. A peer follows the rounds of its neighbours. With three
or more neighbours, one liar cannot separate it from the others: see `heard_round`.
"""

from collections.abc import Iterable

from edgekd.protocol.members import Member
from edgekd.protocol.messages import MAX_ROUND

REACH = 2**20  # how many rounds ahead a peer follows a single neighbour
# No honest group reaches this round. Below it, a peer follows a majority at once. Above it, a peer follows by at most
# `STRIDE` rounds for each broadcast. So a majority of liars cannot use up all rounds, and peers of different speed that
# have followed the liars still hear one another.
HALFWAY = MAX_ROUND // 2
STRIDE = 2**12


def is_due(step: int, broadcast_every: int) -> bool:
    """Whether a peer broadcasts in this step; `step` is its own count."""
    return step % broadcast_every == 0


def lockstep_round(step: int, broadcast_every: int) -> int:
    """The round of a step in synchronous mode."""
    return step // broadcast_every


def heard_round(published: int, group: Iterable[Member]) -> int:
    """The round that a peer should move to because of its neighbours: max(N, M); -1 if none has published.

    M is the lower median of the neighbours' rounds, if two or more have published. So a newcomer joins a group that is
    far ahead at once, and one liar among three neighbours cannot move M out of the range of the others. M is at most
    `HALFWAY`, or published + `STRIDE` if that is more. So whatever a majority of liars claims, rounds are left, and
    peers that have followed them can go on teaching one another when the liars have gone.

    N is the largest of the neighbours' rounds that are at most min(published, U) + `REACH`, where U is the upper
    median. So peers of different speed follow the fastest of them. One liar among three neighbours cannot lead a peer
    away from the others, not even in small steps. It can move the whole group, by up to `REACH` at each broadcast,
    which does no harm. A round farther ahead that only one neighbour claims is ignored.

    Args:
        published: the newest round that this peer has published; -1: none.
        group: its neighbours. Neighbours that are down, or have published nothing, do not count.
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
    """The round of a peer's next broadcast in asynchronous mode: one above its last, or where its neighbours are.

    The last possible round is returned again and again. A peer must not teach about a round twice.
    """
    return min(max(published + 1, heard_round(published, group)), MAX_ROUND - 1)
