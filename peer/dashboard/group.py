"""What a watcher knows of a group, and how an answer or a missing answer changes it.

All functions are pure: `now` is an argument, in seconds of the monotonic clock. One address is enough to find a group,
since each peer answers with the addresses of its neighbours. A peer (by id) and a place (by address) are kept apart:
other peers may see a peer at an address that this box cannot reach, and a peer may come back at another address.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from edgekd.errors import ConfigError
from edgekd.protocol.addresses import is_loopback, parse_address, place
from edgekd.protocol.messages import Hello, Neighbour, Status

DOWN_AFTER = 4.0  # seconds without an answer after which a peer counts as gone
EVERY = 1.0  # seconds between two questions to a peer that answers
SELDOM = 30.0  # seconds between two questions to an address that has never answered, at most
WHILE_GONE = 3.0  # seconds between two questions to a peer that is gone, since it may come back
MOST_PEERS = 256
MOST_PLACES = 512
FORGOTTEN_AFTER = 5  # failures after which an address is forgotten that no peer names any more
KEPT = 5  # answers of a peer from which rates are computed


class Condition(Enum):
    """Whether a peer answers the watcher."""

    UP = "up"
    GONE = "gone"  # it has answered before
    HEARSAY = "seen by others only"  # it has never answered the watcher


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One answer of a peer."""

    at: float
    hello: Hello
    status: Status


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """A peer as the watcher knows it."""

    id: int
    address: str  # "HOST:PORT" of its last answer, else the one that others name
    condition: Condition
    since: float  # start of this condition; for a gone peer, the time of its last answer
    answers: tuple[Answer, ...] = ()  # of one start of its process, the newest last, at most `KEPT`
    why: str = ""  # reason for the last failure

    @property
    def status(self) -> Status | None:
        """The status in its newest answer."""
        return self.answers[-1].status if self.answers else None

    @property
    def hello(self) -> Hello | None:
        """The Hello in its newest answer."""
        return self.answers[-1].hello if self.answers else None

    @property
    def finished(self) -> bool:
        """Whether it had done all its steps when it last answered."""
        return self.status is not None and 0 < self.status.steps <= self.status.step


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """An address to ask."""

    address: str  # "HOST:PORT"
    id: int | None  # of the peer that must answer there; None: any
    given: bool  # by the user; such an address is never forgotten
    ask_at: float  # when to ask next
    failures: int = 0  # since the last answer
    answered: bool = False  # whether it has ever answered
    why: str = ""  # reason for the last failure; "" after an answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """What is known of a group at one time."""

    peers: Mapping[int, Peer] = field(default_factory=dict)  # by id
    places: Mapping[str, Place] = field(default_factory=dict)  # by address


def begin(addresses: Iterable[str], now: float) -> Group:
    """Make a group of which only these addresses are known: "HOST:PORT" or "ID@HOST:PORT"."""
    split = [place(text) for text in addresses]
    return Group(places={address: Place(address=address, id=id, given=True, ask_at=now) for id, address in split})


def due(group: Group, now: float) -> list[Place]:
    """The places to ask now."""
    return [each for each in group.places.values() if each.ask_at <= now]


def asked(group: Group, places: Iterable[Place], now: float, *, patience: float) -> Group:
    """Note that these places are being asked now; they are due again after an answer, or after `patience` seconds."""
    waiting = {each.address: replace(each, ask_at=now + patience) for each in places}
    return replace(group, places={**group.places, **waiting})


def on_answer(group: Group, address: str, hello: Hello, status: Status, now: float) -> Group:
    """Note that a peer has answered at `address`; return the new group.

    The group is unchanged if `address` is not known. An answer of another peer than the expected one is a failure.
    """
    here = group.places.get(address)
    if here is None:
        return group
    if here.id not in (None, hello.id) and (here.given or hello.id not in group.peers):
        return on_failure(group, address, f"peer {hello.id} answers at {address}, and not peer {here.id}", now)
    before = group.peers.get(hello.id)
    if before is None and len(group.peers) >= MOST_PEERS:
        unseen = next((p.id for p in group.peers.values() if p.condition is Condition.HEARSAY), None)
        if unseen is None:
            return on_failure(group, address, f"more than {MOST_PEERS} peers are not watched", now)
        group = replace(group, peers={id: p for id, p in group.peers.items() if id != unseen})
    if not here.given:
        here = replace(here, id=hello.id)  # another peer may have been started at this address
    if before is not None and before.condition is Condition.UP and before.address != address:
        if before.hello is not None and before.hello.instance == hello.instance:  # two addresses of one peer
            return _put(group, replace(here, failures=0, answered=True, ask_at=now + SELDOM, why=""))
        return on_failure(group, address, f"another peer {hello.id} answers at {before.address}", now)
    kept = before.answers if before and before.hello and before.hello.instance == hello.instance else ()
    peer = Peer(
        id=hello.id,
        address=address,
        condition=Condition.UP,
        since=before.since if before and before.condition is Condition.UP and kept else now,
        answers=(*kept, Answer(at=now, hello=hello, status=status))[-KEPT:],
    )
    group = _put(group, replace(here, failures=0, answered=True, ask_at=now + EVERY, why=""))
    group = replace(group, peers={**group.peers, hello.id: peer})
    return _with_neighbours(group, address, status.neighbours, now)


def on_failure(group: Group, address: str, why: str, now: float) -> Group:
    """Note that there was no answer at `address`, or one of another peer; return the new group.

    Args:
        group: the group before.
        address: "HOST:PORT"; an unknown one changes nothing.
        why: the reason, for the page.
        now: seconds.
    """
    here = group.places.get(address)
    if here is None:
        return group
    wait = WHILE_GONE if here.answered or here.given else min(EVERY * 2.0**here.failures, SELDOM)
    if any(p.address == address and p.condition is Condition.UP for p in group.peers.values()):
        wait = EVERY  # it is not gone yet
    group = _put(group, replace(here, failures=here.failures + 1, ask_at=now + wait, why=why))
    peers = {p.id: replace(p, why=why) for p in group.peers.values() if p.address == address}
    return replace(group, peers={**group.peers, **peers})


def on_tick(group: Group, now: float) -> Group:
    """Update the group as time passes: silent peers become gone, and peers and places that none names are forgotten."""
    gone = {
        p.id: replace(p, condition=Condition.GONE, since=p.answers[-1].at)
        for p in group.peers.values()
        if p.condition is Condition.UP and now - p.answers[-1].at >= DOWN_AFTER
    }
    peers = {**group.peers, **gone}
    named = {n.id for p in peers.values() if p.condition is Condition.UP and p.status for n in p.status.neighbours}
    peers = {id: p for id, p in peers.items() if p.condition is not Condition.HEARSAY or id in named}
    named_addresses = {n.address for p in peers.values() if p.status for n in p.status.neighbours}
    places = {
        address: each
        for address, each in group.places.items()
        if each.given or each.answered or each.failures < FORGOTTEN_AFTER or address in named_addresses
    }
    return Group(peers=peers, places=places)


def _put(group: Group, changed: Place) -> Group:
    return replace(group, places={**group.places, changed.address: changed})


def _with_neighbours(group: Group, address: str, neighbours: Iterable[Neighbour], now: float) -> Group:
    """Add the neighbours that the peer at `address` has named, and the places where to ask them."""
    peers, places = dict(group.peers), dict(group.places)
    for each in neighbours:
        known = peers.get(each.id)
        if known is None and len(peers) < MOST_PEERS:
            peers[each.id] = Peer(id=each.id, address=each.address, condition=Condition.HEARSAY, since=now)
        there = places.get(each.address)
        if each.up and there is None and len(places) < MOST_PLACES and reaches(address, each.address):
            places[each.address] = Place(address=each.address, id=each.id, given=False, ask_at=now)
        elif each.up and there is not None and not there.given and there.failures and there.id != each.id:
            places[each.address] = replace(there, id=each.id)  # with keys, the address is asked for this id
    return Group(peers=peers, places=places)


def reaches(by: str, address: str) -> bool:
    """Whether this box may reach `address`, which the peer at `by` has named.

    A loopback address is only valid on the box of the peer that has named it.
    """
    try:
        host, port = parse_address(address)
    except ConfigError:  # in a status long addresses are cut
        return False
    return port > 0 and (not is_loopback(host) or is_loopback(parse_address(by)[0]))


def rates(peer: Peer) -> dict[int, float]:
    """Bytes a second between a peer and each of its neighbours, by the neighbour's id, over the kept answers."""
    first, last = (peer.answers[0], peer.answers[-1]) if len(peer.answers) > 1 else (None, None)
    if first is None or last is None or last.at <= first.at or peer.condition is not Condition.UP:
        return {}
    before = {n.id: n.bytes_sent + n.bytes_received for n in first.status.neighbours}
    return {
        n.id: max(0, n.bytes_sent + n.bytes_received - before.get(n.id, 0)) / (last.at - first.at)
        for n in last.status.neighbours
    }
