"""Events: what has changed between two states of a group, and its description for the page. Pure functions."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from edgekd.protocol.messages import Status
from peer.dashboard.group import Condition, Group, Peer

TOGETHER = 10.0  # seconds between two events of one kind about one peer that are merged, at most
MOST = 300  # events that are kept
OF_ONE = 20  # of these, events of one kind about one peer, so that one peer does not push out all others
NAMED = 4  # reporting peers named in a sentence; the others are counted


class Kind(Enum):
    """The kind of an event; the value is the word on the page."""

    UP = "up"
    DOWN = "down"
    ENDED = "ended"
    RESUMED = "resumed"
    STATE = "state"
    REFUSED = "refused"
    CUT_OFF = "cut off"
    TROUBLE = "trouble"
    MENDED = "mended"


MERGED = (Kind.UP, Kind.DOWN, Kind.REFUSED, Kind.CUT_OFF)
"""Kinds that are repeated often, or reported by many peers, and so are merged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that has happened to a peer, once or several times."""

    at: float  # when it was last seen, in seconds of the monotonic clock
    kind: Kind
    about: int  # the id of the peer
    detail: str = ""  # such as a reason or a state
    by: tuple[int, ...] = ()  # the peers that report it; empty: the watcher itself
    count: int = 1
    since: float | None = None  # when the first of several was seen; None: there was only one

    @property
    def text(self) -> str:
        """The event as a sentence, without the time."""
        return _sentence(self)


def changes(before: Group, after: Group, now: float) -> list[Event]:
    """The events that lead from the group `before` to the group `after`, seen at `now` seconds."""
    found: list[Event] = []
    for id, peer in after.peers.items():
        earlier = before.peers.get(id)
        if earlier is not peer:
            found += _of_peer(earlier, peer, now)
    return found


def noted(log: Sequence[Event], new: Iterable[Event]) -> tuple[Event, ...]:
    """Add new events to the log; return it ordered by the time each event was last seen, the newest last.

    A new event is merged into an equal one about the same peer that was last seen at most `TOGETHER` seconds before.
    The newest `MOST` events are kept, of which at most `OF_ONE` are of the same kind and about the same peer.
    """
    told = list(log)
    for event in new:
        index = next((index for index in reversed(range(len(told))) if _together(told[index], event)), None)
        told.append(event if index is None else _merged(told.pop(index), event))
    kept: list[Event] = []
    counts: Counter[tuple[Kind, int]] = Counter()
    for event in reversed(told):
        counts[event.kind, event.about] += 1
        if counts[event.kind, event.about] <= OF_ONE:
            kept.append(event)
    return tuple(reversed(kept[:MOST]))


def _together(one: Event, other: Event) -> bool:
    same = (one.kind, one.about, one.detail) == (other.kind, other.about, other.detail)
    return same and one.kind in MERGED and bool(one.by) == bool(other.by) and other.at - one.at <= TOGETHER


def _merged(one: Event, other: Event) -> Event:
    by = tuple(sorted({*one.by, *other.by}))
    since = one.at if one.since is None else one.since
    return replace(other, by=by, count=one.count + other.count, since=since)


def _of_peer(before: Peer | None, after: Peer, now: float) -> Iterator[Event]:
    id = after.id
    was = before.condition if before else None
    if after.condition is Condition.GONE and was is Condition.UP:
        if after.finished:
            yield Event(at=now, kind=Kind.ENDED, about=id)
        else:
            yield Event(at=now, kind=Kind.DOWN, about=id, detail=after.why)
    if after.condition is not Condition.UP or after.status is None:
        return
    if before is None or before.status is None or before.hello is None:
        yield Event(at=now, kind=Kind.UP, about=id, detail=f"at {after.address}, {after.status.state}")
        return
    assert after.hello is not None  # it has a status
    if before.hello.instance != after.hello.instance:
        first = after.status.step if after.status.first_step is None else after.status.first_step
        yield Event(at=now, kind=Kind.RESUMED, about=id, detail=f"at step {first}" if first else "from the beginning")
        return
    if was is Condition.GONE:
        yield Event(at=now, kind=Kind.UP, about=id, detail=f"again, after {now - before.since:.0f} s without an answer")
    if before.status is not after.status:
        yield from _of_status(before.status, after.status, now)


def _of_status(before: Status, after: Status, now: float) -> Iterator[Event]:
    id = after.id
    if before.state != after.state:
        yield Event(at=now, kind=Kind.STATE, about=id, detail=f"{after.state} at step {after.step}")
    for reason, count in after.refused.items():
        if (more := count - before.refused.get(reason, 0)) > 0:
            kind = Kind.CUT_OFF if reason == "cut-off" else Kind.REFUSED
            yield Event(at=now, kind=kind, about=id, detail=reason, count=more)
    for what in after.failing:
        if what not in before.failing:
            yield Event(at=now, kind=Kind.TROUBLE, about=id, detail=f"cannot write {what}")
    for what in before.failing:
        if what not in after.failing:
            yield Event(at=now, kind=Kind.MENDED, about=id, detail=f"can write {what} again")
    yield from _neighbours(before, after, now)


def _neighbours(before: Status, after: Status, now: float) -> Iterator[Event]:
    """Events of neighbours that have gone down or come up, as this peer reports."""
    were = {n.id: n.up for n in before.neighbours}
    for each in after.neighbours:
        if were.get(each.id, each.up) != each.up:
            yield Event(at=now, kind=Kind.UP if each.up else Kind.DOWN, about=each.id, by=(after.id,))


def _said_by(event: Event) -> str:
    if len(event.by) <= NAMED:
        return ", ".join(map(str, event.by))
    return f"{', '.join(map(str, event.by[:NAMED]))} and {len(event.by) - NAMED} more"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _sentence(event: Event) -> str:
    who = f"peer {event.about}"
    if event.by and event.kind in (Kind.UP, Kind.DOWN):
        return f"{who} is {event.kind.value} for {_said_by(event)}"
    match event.kind:
        case Kind.UP:
            return f"{who} answers {event.detail}"
        case Kind.DOWN:
            return f"{who} does not answer{': ' if event.detail else ''}{event.detail}"
        case Kind.ENDED:
            return f"{who} has ended: it had done its steps"
        case Kind.RESUMED:
            return f"{who} was started again, {event.detail}"
        case Kind.STATE:
            return f"{who}: {event.detail}"
        case Kind.REFUSED:
            return f"{who} has refused {_times(event.count)}: {event.detail}"
        case Kind.CUT_OFF:
            return f"{who} has cut off a neighbour {_times(event.count)}: it sent too much that was refused"
        case Kind.TROUBLE | Kind.MENDED:
            return f"{who} {event.detail}"
