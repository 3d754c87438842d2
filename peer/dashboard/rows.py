"""The texts of the page: a table row for each peer, and the details of one peer. Pure functions."""

from collections.abc import Callable
from typing import Any

from edgekd.protocol.amounts import bytes_text, duration, seconds_left, steps_text
from edgekd.protocol.messages import Status
from peer.dashboard.charts import rate_text
from peer.dashboard.group import Condition, Group, Peer, rates

NONE = "-"

COLUMNS = (
    ("peer", "peer"),
    ("state", "state"),
    ("step", "step"),
    ("left", "time left"),
    ("accuracy", "accuracy"),
    ("up", "neighbours up"),
    ("age", "age"),
    ("rate", "bytes a second"),
    ("refused", "refused"),
    ("trouble", "trouble"),
    ("address", "address"),
)
"""Name and title of each column of the table of peers."""

NEIGHBOUR_COLUMNS = (
    ("id", "peer"),
    ("up", "is"),
    ("step", "step"),
    ("age", "age"),
    ("disagreement", "disagreement"),
    ("rate", "bytes a second"),
    ("sent", "sent"),
    ("received", "received"),
    ("replaced", "replaced"),
)


def row(peer: Peer, time_of_day: Callable[[float], str], contract: str | None) -> dict[str, Any]:
    """The table row of one peer: a cell for each of `COLUMNS`, its "id" and its `tone`.

    Args:
        peer: the peer.
        time_of_day: turns seconds of the monotonic clock into text.
        contract: the digest of the group's usual contract; None: all peers have the same.
    """
    status = peer.status
    cells: dict[str, Any] = {name: NONE for name, _ in COLUMNS}
    cells |= {"id": peer.id, "peer": peer.id, "address": peer.address}
    cells |= {"state": state(peer, time_of_day), "tone": tone(peer, contract)}
    if status is None:
        return cells
    ages = [n.age for n in status.neighbours if n.up and n.age is not None]
    here = peer.condition is Condition.UP
    cells |= {
        "step": steps_text(status.step, status.steps),
        "left": _left(status) if here else NONE,
        "accuracy": NONE if status.accuracy is None else f"{status.accuracy:.3f}",
        "up": f"{sum(n.up for n in status.neighbours)}/{len(status.neighbours)}" if here else NONE,
        "age": (f"{min(ages)}-{max(ages)}" if min(ages) < max(ages) else str(ages[0])) if ages and here else NONE,
        "rate": rate_text(sum(rates(peer).values())) if here else NONE,
        "refused": ", ".join(f"{why} {count}" for why, count in sorted(status.refused.items())) or NONE,
        "trouble": trouble(peer, contract) or NONE,
    }
    return cells


def state(peer: Peer, time_of_day: Callable[[float], str]) -> str:
    """The state of a peer as text, or since when it has not answered."""
    if peer.condition is Condition.HEARSAY:
        return str(peer.condition.value)
    if peer.condition is Condition.GONE:
        return f"{'ended' if peer.finished else 'gone'} since {time_of_day(peer.since)}"
    assert peer.status is not None  # it has answered
    return str(peer.status.state)


def tone(peer: Peer, contract: str | None) -> str:
    """The colour class of a row: "bad" if the peer needs attention, "good" if it answers, else "faint"."""
    if trouble(peer, contract) or (peer.condition is Condition.GONE and not peer.finished):
        return "bad"
    return "good" if peer.condition is Condition.UP else "faint"


def trouble(peer: Peer, contract: str | None) -> str:
    """What was wrong with a peer when it last answered; "" for nothing."""
    found = [f"cannot write {what}" for what in peer.status.failing] if peer.status else []
    if contract is not None and peer.hello is not None and peer.hello.contract.digest() != contract:
        found.append("has agreed on other settings than the group")
    return "; ".join(found)


def usual_contract(group: Group) -> str | None:
    """The digest of the most frequent contract if there are several contracts; else None."""
    digests = [p.hello.contract.digest() for p in group.peers.values() if p.hello and p.condition is Condition.UP]
    return max(digests, key=digests.count) if len(set(digests)) > 1 else None


def details(peer: Peer, time_of_day: Callable[[float], str]) -> list[tuple[str, str]]:
    """The details of a peer, without its neighbours, as names and texts."""
    facts = [("address", peer.address), ("state", state(peer, time_of_day))]
    if peer.condition is not Condition.UP and peer.why:
        facts.append(("asked in vain", peer.why))
    status = peer.status
    if status is None:
        return facts
    facts += [
        ("step", steps_text(status.step, status.steps)),
        ("time left", _left(status)),
        ("round", str(status.round)),
        ("accuracy", _accuracy(status.accuracy, status.evaluation_images)),
        ("best accuracy", _number(status.best, 3)),
        ("loss on labels", _number(status.loss_labels, 4)),
        ("distillation loss", _number(status.loss_distil, 4)),
        ("lessons", f"{status.lessons}, of them {status.fresh_lessons} fresh"),
        ("age of the lesson", NONE if status.lesson_age is None else f"{status.lesson_age} steps"),
        ("sent", bytes_text(status.bytes_sent)),
        ("received", bytes_text(status.bytes_received)),
        ("refused", ", ".join(f"{why} {count}" for why, count in sorted(status.refused.items())) or "nothing"),
        ("cannot write", ", ".join(status.failing) or "nothing"),
    ]
    return facts


def neighbour_rows(peer: Peer) -> list[dict[str, Any]]:
    """The table rows of a peer's neighbours: for each a cell for each of `NEIGHBOUR_COLUMNS`."""
    by = rates(peer)
    return [
        {
            "id": each.id,
            "up": "up" if each.up else "down",
            "step": each.step,
            "age": NONE if each.age is None else each.age,
            "disagreement": _number(each.disagreement, 2),
            "rate": rate_text(by[each.id]) if each.id in by else NONE,
            "sent": bytes_text(each.bytes_sent),
            "received": bytes_text(each.bytes_received),
            "replaced": each.replaced,
        }
        for each in (peer.status.neighbours if peer.status else ())
    ]


def headline(group: Group) -> str:
    """A line with the number of peers in each condition."""
    count = dict.fromkeys(Condition, 0)
    for peer in group.peers.values():
        count[peer.condition] += 1
    ended = sum(p.condition is Condition.GONE and p.finished for p in group.peers.values())
    parts = [f"{count[Condition.UP]} up"]
    parts += [f"{gone} gone"] if (gone := count[Condition.GONE] - ended) else []
    parts += [f"{ended} ended"] if ended else []
    parts += [f"{count[Condition.HEARSAY]} seen by others only"] if count[Condition.HEARSAY] else []
    return ", ".join(parts)


def unanswered(group: Group) -> list[str]:
    """The errors of those addresses given by the user that have never answered."""
    return [each.why for each in group.places.values() if each.given and not each.answered and each.why]


def _left(status: Status) -> str:
    left = seconds_left(step=status.step, steps=status.steps, first_step=status.first_step, seconds=status.seconds)
    return duration(left)


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def _accuracy(accuracy: float | None, images: int | None) -> str:
    return _number(accuracy, 3) + (f" on {images} images" if accuracy is not None and images else "")
