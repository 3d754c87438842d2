"""The record that a peer keeps of each neighbour, and how frames and silence change it.

All functions are pure: they return a new record, and the caller passes `now`, in seconds of a monotonic clock.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace

from edgekd.protocol.counts import Traffic
from edgekd.protocol.messages import Frame, Goodbye, Heartbeat, Hello, Neighbour, Parting, SoftPredictions

MAX_NEIGHBOURS = 64  # limit for the connected neighbours that have dialled in, and for addresses found by discovery

# Refusal reasons that do not mean a lost prediction: the frame was of another kind, or repeated a round. The guard has
# a similar set, `edgekd.protocol.guard.HARMLESS`: the refusals that do not cut a peer off.
NO_PREDICTION_LOST = frozenset({"unknown", "old", "ack", "hello", "text", "address"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """This peer's record of one neighbour."""

    id: int
    instance: int
    address: str  # "HOST:PORT" where it listens; if that is unknown, the host from which it connects
    up: bool
    last_heard: float  # seconds of the monotonic clock
    step: int = 0
    steps: int = 0  # steps that it will do; 0: training has no end
    round: int = -1  # the newest round it has published, according to its messages over its present stream; -1: none
    arrived: int | None = None  # this peer's step at which its newest predictions arrived; None: none have arrived
    done: bool = False
    accuracy: float | None = None
    bytes_received: int = 0  # payload of its predictions
    bytes_sent: int = 0
    replaced: int = 0  # predictions for it that were never sent, because newer ones took their place
    disagreement: float | None = None  # how far its predictions are from the others', in [0, 1]; None: no lesson yet
    unsound: bool = False  # its newest predictions were refused, so lockstep must not wait for them

    @property
    def unfinished(self) -> bool:
        """Whether it is up, will do a limited number of steps, and has not done them all."""
        return self.up and not self.done and self.steps > 0


def joined(hello: Hello, address: str, now: float, before: Member | None) -> Member:
    """Make the record of a neighbour that has sent its Hello.

    Args:
        hello: the neighbour's Hello.
        address: "HOST:PORT" where it listens; if that is unknown, the host from which it connects.
        now: seconds of the monotonic clock.
        before: the record so far, whose counts are kept, or None.

    Returns:
        A member that is down until its first frame arrives, since it may still refuse this peer. It is up if the same
        instance (the same start of its process) was up before.
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
    # The same process on a new stream: it has lost nothing of what it had done.
    return replace(counts, step=before.step, steps=before.steps, done=before.done, accuracy=before.accuracy)


def on_frame(member: Member, frame: Frame, now: float, *, current: bool) -> Member:
    """Note any readable frame: the neighbour is alive.

    Args:
        member: the sender.
        frame: the frame. A goodbye does not make a neighbour up.
        now: seconds of the monotonic clock.
        current: whether it came over the neighbour's present stream. A frame over a replaced stream does not make the
            neighbour up.
    """
    return replace(member, last_heard=now, up=member.up or (current and not isinstance(frame, Goodbye)))


def on_heartbeat(member: Member, beat: Heartbeat) -> Member:
    """A copy of `member` with the progress that a heartbeat tells: step, steps, round, whether it is done, accuracy."""
    return replace(
        member,
        step=beat.step,
        steps=beat.steps,
        round=max(member.round, beat.round),
        done=beat.done,
        accuracy=beat.accuracy,
    )


def on_predictions(member: Member, frame: SoftPredictions, step: int) -> Member:
    """Note that valid predictions arrived while this peer was at `step`."""
    return replace(
        member,
        bytes_received=member.bytes_received + len(frame.payload),
        round=max(member.round, frame.round),
        arrived=step,
        unsound=False,
    )


def on_refused_frame(member: Member, reason: str) -> Member:
    """Note that a frame of the neighbour was refused for `reason`; it may have held the newest predictions."""
    return member if reason in NO_PREDICTION_LOST else replace(member, unsound=True)


def on_goodbye(member: Member, goodbye: Goodbye) -> Member:
    """Note the neighbour's goodbye. The neighbour goes down at the end of its stream, not at its goodbye."""
    return replace(member, done=True) if goodbye.parting is Parting.DONE else member


def on_down(member: Member) -> Member:
    """Mark the neighbour as down: its stream has ended, or it has been silent for too long."""
    return replace(member, up=False)


def on_sent(member: Member, frame: SoftPredictions) -> Member:
    """Count predictions that were handed to the network for this neighbour."""
    return replace(member, bytes_sent=member.bytes_sent + len(frame.payload))


def on_replaced(member: Member, frames: int) -> Member:
    """Count waiting predictions for this neighbour that newer ones replaced."""
    return replace(member, replaced=member.replaced + frames)


def on_disagreement(member: Member, disagreement: float) -> Member:
    """Store how far the neighbour's predictions are from those of the others, in [0, 1]."""
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
    """Drop the members that have been silent for longest, until at most `2 * MAX_NEIGHBOURS` members are left.

    Connected members always stay.
    """
    gone = sorted((m for m in members.values() if m.id not in connected), key=lambda m: m.last_heard)
    forgotten = {m.id for m in gone[: max(0, len(members) - 2 * MAX_NEIGHBOURS)]}
    return {id: member for id, member in members.items() if id not in forgotten}


def total(before: Traffic, members: Iterable[Member]) -> Traffic:
    """Add the traffic of these members to `before`."""
    counted = list(members)
    return Traffic(
        bytes_sent=before.bytes_sent + sum(member.bytes_sent for member in counted),
        bytes_received=before.bytes_received + sum(member.bytes_received for member in counted),
        replaced=before.replaced + sum(member.replaced for member in counted),
    )


def is_silent(member: Member, now: float, *, down_after: float) -> bool:
    """Whether no frame has arrived for `down_after` seconds; then the neighbour counts as down."""
    return now - member.last_heard >= down_after
