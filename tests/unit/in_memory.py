"""Peers in one process, and the links between them, without sockets and clock. Frames arrive at once, unless held.

The decisions are not made here: `edgekd.protocol.members` and the codec handle frames, and the exchange does the rest.
A stream begins as in the hub: with Hello, heartbeat and the newest predictions (in lockstep the newest two).
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product

import torch
from hellos import CONTRACT, hello

from edgekd.errors import RemoteProtocolError
from edgekd.protocol import members
from edgekd.protocol.codec import decode, encode
from edgekd.protocol.encodings import Packing
from edgekd.protocol.exchange import Exchange
from edgekd.protocol.messages import Frame, Goodbye, Heartbeat, Hello, SoftPredictions

Link = tuple[int, int]  # sender and receiver
PROBS = torch.full((CONTRACT.heads, CONTRACT.public_batch, CONTRACT.classes), 1 / CONTRACT.classes)


def predictions(round: int, probs: torch.Tensor = PROBS) -> SoftPredictions:
    return encode(probs.log(), round, Packing.parse("float32"))


@dataclass
class Peer:
    """A peer since it was started."""

    id: int
    instance: int
    steps: int
    step: int
    exchange: Exchange
    neighbours: dict[int, members.Member] = field(default_factory=dict)
    arrived: list[tuple[int, int, int, torch.Tensor]] = field(default_factory=list)
    recent: tuple[SoftPredictions, ...] = ()  # predictions that a new stream sends again
    began: bool = False  # whether it has taught in its step, but not learned
    notes: list[str] = field(default_factory=list)  # events since its last line of the record

    def look(self) -> list[members.Member]:
        """Post the predictions that have arrived to the exchange; return the neighbours."""
        for sender, instance, round, probs in self.arrived:
            if not self.exchange.post(sender, instance, round, probs, self.step):
                self.notes.append(f"ignores {round:_} of {sender}")
        self.arrived = []
        return [member for _, member in sorted(self.neighbours.items())]

    def heartbeat(self) -> Heartbeat:
        done = self.exchange.is_done(self.step)
        return Heartbeat(step=self.step, steps=self.steps, round=self.exchange.published, done=done)

    def receive(self, sender: int, frame: Frame) -> None:
        before = self.neighbours.get(sender)
        if isinstance(frame, Hello) or before is None:
            assert isinstance(frame, Hello)
            self.neighbours[sender] = members.joined(frame, "", 0.0, before)
            return
        member = members.on_frame(before, frame, 0.0, current=True)
        if isinstance(frame, SoftPredictions):
            try:
                probs = decode(frame, CONTRACT)
                self.arrived.append((sender, member.instance, frame.round, probs))
                member = members.on_predictions(member, frame, self.step)
            except RemoteProtocolError as error:
                self.notes.append(f"refuses {frame.round:_} of {sender}")
                member = members.on_refused_frame(member, error.reason)
        elif isinstance(frame, Heartbeat):
            member = members.on_heartbeat(member, frame)
        elif isinstance(frame, Goodbye):
            member = members.on_goodbye(member, frame)
        self.neighbours[sender] = member


class Network:
    """Links between all running peers, except for links that are down."""

    def __init__(self) -> None:
        self.peers: dict[int, Peer] = {}  # the running ones
        self.down: set[Link] = set()
        self.held: set[Link] = set()  # frames in this direction do not arrive
        self.garbled: set[Link] = set()  # the next predictions in this direction arrive as NaN
        self._streams: dict[Link, deque[Frame]] = {}  # frames on their way

    def connect(self, *, liar: int = -1, claim: int = -1) -> None:
        """Open all possible streams; peer `liar` claims in its Hello that it has published the round `claim`."""
        links = {(a, b) for a, b in product(self.peers, repeat=2) if a != b and not {(a, b), (b, a)} & self.down}
        new = sorted(links - self._streams.keys())
        for sender, receiver in new:
            peer = self.peers[sender]
            greeting = hello(sender, peer.instance, newest_round=claim if sender == liar else peer.exchange.published)
            self._streams[sender, receiver] = deque([greeting, peer.heartbeat(), *peer.recent])
        self.flow(new)

    def cut(self, links: Iterable[Link]) -> None:
        """End these streams in both directions; frames on their way are lost."""
        for sender, receiver in {way for link in links for way in (link, link[::-1])} & self._streams.keys():
            del self._streams[sender, receiver]
            if receiver in self.peers and sender in (known := self.peers[receiver].neighbours):
                known[sender] = members.on_down(known[sender])

    def remove(self, id: int) -> None:
        """Remove a peer and its streams."""
        del self.peers[id]
        self.cut([link for link in self._streams if id in link])

    def say(self, sender: int, frame: Frame, to: list[int] | None = None) -> None:
        """Send a frame from `sender` to all its neighbours, or to those in `to`."""
        links = [link for link in sorted(self._streams) if link[0] == sender and (to is None or link[1] in to)]
        for link in links:
            garbled = link in self.garbled and isinstance(frame, SoftPredictions)
            self._streams[link].append(predictions(frame.round, PROBS * torch.nan) if garbled else frame)
            self.garbled -= {link} if garbled else set()
        self.flow(links)

    def drop(self, links: Iterable[Link]) -> None:
        """Lose the predictions that are on their way over these links."""
        for link in links:
            self._streams[link] = deque(f for f in self._streams[link] if not isinstance(f, SoftPredictions))

    def flow(self, links: Iterable[Link]) -> None:
        """Let the frames on their way over these links arrive, unless a link is held."""
        for link in links:
            while link not in self.held and self._streams[link]:
                self.peers[link[1]].receive(link[0], self._streams[link].popleft())
