"""Who is up, how far each neighbour is, and which of two streams stays. Pure: `now` is an argument, in seconds."""

from collections.abc import Container
from dataclasses import dataclass, replace

from edgekd.protocol.messages import Heartbeat, Hello, Neighbour

DOWN_AFTER = 5.0  # seconds without a frame
HEARTBEAT_EVERY = 1.0  # seconds
PROBE_FOR = 1.0  # seconds that an old stream has to show that it is alive
MAX_NEIGHBOURS = 64  # that may dial in


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A neighbour as this peer knows it."""

    id: int
    instance: int
    address: str  # where it listens, else where it speaks from
    up: bool
    last_heard: float  # seconds, of the monotonic clock
    step: int = 0
    steps: int = 0  # 0: without end
    round: int = -1  # the newest that it has published, as far as it has said over its present stream
    arrived: int | None = None  # this peer's own step when its newest predictions came; None: none did
    done: bool = False
    accuracy: float | None = None
    bytes_received: int = 0  # payload of its frames
    bytes_sent: int = 0
    replaced: int = 0  # frames for it that a newer one took the place of
    disagreement: float | None = None  # of its predictions with the rest's, in [0, 1]; None: none was learned from
    unsound: bool = False  # its newest predictions were refused: somebody in lockstep waits in vain

    @property
    def unfinished(self) -> bool:
        """It is up, has an end, and has not reached it."""
        return self.up and not self.done and self.steps > 0


def joined(hello: Hello, address: str, now: float, before: Member | None) -> Member:
    """The neighbour at `address` that has just said `hello`; what was counted of it `before` is kept."""
    member = Member(
        id=hello.id,
        instance=hello.instance,
        address=address,
        up=True,
        last_heard=now,
        round=hello.newest_round,
    )
    if before is None:
        return member
    counts = replace(
        member,
        arrived=before.arrived,
        bytes_received=before.bytes_received,
        bytes_sent=before.bytes_sent,
        replaced=before.replaced,
        disagreement=before.disagreement,
    )
    if before.instance != hello.instance:
        return counts
    # The same process on a new stream: it knows no less than it did.
    return replace(counts, step=before.step, steps=before.steps, done=before.done, accuracy=before.accuracy)


def beaten(member: Member, beat: Heartbeat, now: float) -> Member:
    """The neighbour after its heartbeat."""
    return replace(
        member,
        last_heard=now,
        step=beat.step,
        steps=beat.steps,
        round=max(member.round, beat.round),
        done=beat.done,
        accuracy=beat.accuracy,
    )


def seen_by(member: Member, step: int) -> Neighbour:
    """The neighbour as a peer at `step` tells of it."""
    return Neighbour(
        id=member.id,
        address=member.address,
        up=member.up,
        step=member.step,
        age=None if member.arrived is None else max(0, step - member.arrived),
        replaced=member.replaced,
        bytes_sent=member.bytes_sent,
        bytes_received=member.bytes_received,
        disagreement=member.disagreement,
    )


def without_the_long_gone(members: dict[int, Member], connected: Container[int]) -> dict[int, Member]:
    """At most `2 * MAX_NEIGHBOURS` members: of those that are not connected, the longest silent are forgotten first."""
    gone = sorted((m for m in members.values() if m.id not in connected), key=lambda m: m.last_heard)
    forgotten = {m.id for m in gone[: max(0, len(members) - 2 * MAX_NEIGHBOURS)]}
    return {id: member for id, member in members.items() if id not in forgotten}


def is_silent(member: Member, now: float) -> bool:
    """Whether nothing has come from it for so long that it counts as down."""
    return now - member.last_heard >= DOWN_AFTER


def first_stays(*, first_dialled_by: int, second_dialled_by: int) -> bool:
    """Of two streams between the same two instances, whether the first stays.

    The one dialled by the smaller id does; where the same side dialled both, the newer: it would not have dialled again
    if it still had the old one.
    """
    return first_dialled_by < second_dialled_by
