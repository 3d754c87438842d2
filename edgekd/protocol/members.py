"""What a frame, or its absence, does to a neighbour's record. Pure: `now` is an argument, in seconds."""

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace

from edgekd.protocol.counts import Traffic
from edgekd.protocol.messages import Frame, Goodbye, Heartbeat, Hello, Neighbour, Parting, SoftPredictions

MAX_NEIGHBOURS = 64  # connected ones that have dialled in, and addresses found by discovery

# Refusal reasons that do not mean a lost prediction: the frame was of another kind, or repeated a round. The guard has
# a set of its own, `edgekd.protocol.guard.HARMLESS`: refusals that do not cut a peer off.
NO_PREDICTION_LOST = frozenset({"unknown", "old", "ack", "hello", "text", "address"})


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
    unsound: bool = False  # its newest predictions were refused: lockstep must not wait for them

    @property
    def unfinished(self) -> bool:
        """It is up, has an end, and has not reached it."""
        return self.up and not self.done and self.steps > 0


def joined(hello: Hello, address: str, now: float, before: Member | None) -> Member:
    """The neighbour at `address` after its Hello.

    Args:
        hello: the neighbour's.
        address: "HOST:PORT" where it listens, else where it speaks from.
        now: seconds of the monotonic clock.
        before: its record so far, whose counts are kept; None: there is none.

    Returns:
        A member that is down until its first frame, since it may refuse this peer; up if the same instance was up.
    """
    member = Member(
        id=hello.id,
        instance=hello.instance,
        address=address,
        up=before is not None and before.instance == hello.instance and before.up,
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


def on_frame(member: Member, frame: Frame, now: float, *, current: bool) -> Member:
    """Any frame that can be read: the neighbour is alive.

    Args:
        member: who has sent it.
        frame: a goodbye does not bring a neighbour up.
        now: seconds of the monotonic clock.
        current: it came over the neighbour's present stream; a frame of a replaced stream does not bring it up either.
    """
    return replace(member, last_heard=now, up=member.up or (current and not isinstance(frame, Goodbye)))


def on_heartbeat(member: Member, beat: Heartbeat) -> Member:
    """A heartbeat says how far the neighbour is."""
    return replace(
        member,
        step=beat.step,
        steps=beat.steps,
        round=max(member.round, beat.round),
        done=beat.done,
        accuracy=beat.accuracy,
    )


def on_predictions(member: Member, frame: SoftPredictions, step: int) -> Member:
    """Sound predictions have arrived while this peer was at `step`."""
    return replace(
        member,
        bytes_received=member.bytes_received + len(frame.payload),
        round=max(member.round, frame.round),
        arrived=step,
        unsound=False,
    )


def on_refused_frame(member: Member, reason: str) -> Member:
    """A frame of the neighbour was refused for `reason`, perhaps its newest predictions."""
    return member if reason in NO_PREDICTION_LOST else replace(member, unsound=True)


def on_goodbye(member: Member, goodbye: Goodbye) -> Member:
    """The neighbour ends its stream; the stream's end, not the goodbye, brings the neighbour down."""
    return replace(member, done=True) if goodbye.parting is Parting.DONE else member


def on_down(member: Member) -> Member:
    """The neighbour's stream has ended, or the neighbour has been silent for too long."""
    return replace(member, up=False)


def on_sent(member: Member, frame: SoftPredictions) -> Member:
    """Predictions for the neighbour were handed to the network."""
    return replace(member, bytes_sent=member.bytes_sent + len(frame.payload))


def on_replaced(member: Member, frames: int) -> Member:
    """So many waiting predictions for the neighbour were replaced by newer ones."""
    return replace(member, replaced=member.replaced + frames)


def on_disagreement(member: Member, disagreement: float) -> Member:
    """The neighbour's predictions disagree so far with the rest's, in [0, 1]."""
    return replace(member, disagreement=disagreement)


def seen_by(member: Member, step: int) -> Neighbour:
    """The neighbour as a peer at `step` reports it in its status."""
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
    """At most `2 * MAX_NEIGHBOURS` members, or as many as are connected; the longest silent are forgotten first."""
    gone = sorted((m for m in members.values() if m.id not in connected), key=lambda m: m.last_heard)
    forgotten = {m.id for m in gone[: max(0, len(members) - 2 * MAX_NEIGHBOURS)]}
    return {id: member for id, member in members.items() if id not in forgotten}


def total(before: Traffic, members: Iterable[Member]) -> Traffic:
    """The traffic with these members, on top of `before`."""
    counted = list(members)
    return Traffic(
        bytes_sent=before.bytes_sent + sum(member.bytes_sent for member in counted),
        bytes_received=before.bytes_received + sum(member.bytes_received for member in counted),
        replaced=before.replaced + sum(member.replaced for member in counted),
    )


def is_silent(member: Member, now: float, *, down_after: float) -> bool:
    """Whether no frame has come for `down_after` seconds, so that the neighbour counts as down."""
    return now - member.last_heard >= down_after
