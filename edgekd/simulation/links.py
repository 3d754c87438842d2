"""The links of a simulated group: delays, queues for an uplink, and losses when a stream breaks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from edgekd.protocol.messages import Frame, SoftPredictions
from edgekd.protocol.outbox import Outbox, payload
from edgekd.seeds import uniform
from edgekd.simulation.events import TICKS, Kind, Queue

RETRANSMISSION = 0.2  # seconds; the shortest time after which TCP sends a lost packet again (as in Linux; RFC 6298)


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """The conditions on every link of the group. A unit is the duration of one step of the first client."""

    delay: float = 0.0  # units that each frame takes
    jitter: float = 0.0  # largest additional delay in units; drawn uniformly
    bandwidth: float | None = None  # bytes in a unit for the uplink of each box; only predictions count; None: no limit
    loss: float = 0.0  # probability, in [0, 1), that a frame is lost in one try; each loss delays it
    step_seconds: float = 1.0  # seconds in a unit


@dataclass(frozen=True, slots=True)
class Sent:
    """Predictions on their way to a receiver."""

    frame: SoftPredictions
    probs: Tensor  # as the receiver will decode them
    instance: int  # number of the sender's start


def _payload(sent: Sent) -> int:
    return payload(sent.frame)


@dataclass(slots=True)
class _Stream:
    """One direction of a stream between two peers."""

    outbox: Outbox[Sent]
    number: int  # unique in the group, for its own random numbers
    sent: int = 0  # number of frames so far
    last: int = 0  # tick at which the newest frame arrives, since TCP keeps the order
    broken: bool = False


class Links:
    """All streams of a group.

    Args:
        queue: the virtual clock.
        neighbours: peer id -> ids of its neighbours.
        conditions: the conditions on every link.
        seed: the seed of delays and losses.
        receive: is called with the receiver, the sender, and the predictions or other frame that has arrived.
    """

    def __init__(
        self,
        queue: Queue,
        neighbours: Mapping[int, Sequence[int]],
        conditions: Conditions,
        seed: int,
        receive: Callable[[int, int, Sent | Frame], None],
    ) -> None:
        self._queue, self._conditions, self._seed, self._receive = queue, conditions, seed, receive
        self._streams: dict[int, dict[int, _Stream]] = {id: {} for id in neighbours}  # sender -> receiver -> stream
        self._opened = 0
        self.bytes_sent = dict.fromkeys(neighbours, 0)  # of predictions, without framing
        self._free = dict.fromkeys(neighbours, 0)  # tick from which a peer's uplink is free
        self._turn = dict.fromkeys(neighbours, -1)  # receiver of the last predictions; the next receiver comes next

    def open(self, sender: int, receiver: int, again: Sent | None) -> None:
        """Open the direction from `sender` to `receiver`, with predictions that the last stream may have lost."""
        self._opened += 1
        outbox: Outbox[Sent] = Outbox(lockstep=False, size=_payload, again=(again,) if again else ())
        self._streams[sender][receiver] = _Stream(outbox, self._opened)

    def start(self, sender: int) -> None:
        """Send what `open` has put into the outboxes of `sender`."""
        self._pump(sender)

    def cut(self, peer: int) -> None:
        """Break all streams of `peer`, as in a power cut: frames on their way are lost."""
        for stream in self._streams[peer].values():
            stream.broken = True
        self._streams[peer].clear()
        for streams in self._streams.values():
            if stream_to := streams.pop(peer, None):
                stream_to.broken = True

    def close(self, peer: int) -> None:
        """End all streams of `peer`, as after a goodbye: frames on their way still arrive, but none follow."""
        self._streams[peer].clear()
        for streams in self._streams.values():
            streams.pop(peer, None)

    def say(self, sender: int, frame: Frame) -> None:
        """Send a frame that carries no predictions, such as a heartbeat, to every neighbour."""
        for receiver in sorted(self._streams[sender]):
            self.say_to(sender, receiver, frame)

    def say_to(self, sender: int, receiver: int, frame: Frame) -> None:
        """Send a frame that carries no predictions to one neighbour; it takes no bandwidth."""
        self._send(sender, receiver, self._streams[sender][receiver], frame, 0)

    def publish(self, sender: int, predictions: Sent) -> int:
        """Put predictions into the outbox of every neighbour; returns how many waiting ones they replace."""
        replaced = sum(stream.outbox.put(predictions) for stream in self._streams[sender].values())
        self._pump(sender)
        return replaced

    def _pump(self, sender: int) -> None:
        """Send predictions to the neighbours in turn, while the uplink is free and an outbox allows it."""
        queue, bandwidth = self._queue, self._conditions.bandwidth
        while queue.now >= self._free[sender]:
            streams = self._streams[sender]
            predictions = None
            for receiver in sorted(streams, key=lambda receiver: (receiver <= self._turn[sender], receiver)):
                if predictions := streams[receiver].outbox.take(queue.now):
                    break
            if predictions is None:
                return
            self._turn[sender] = receiver
            self.bytes_sent[sender] += len(predictions.frame.payload)
            ticks = round(len(predictions.frame.payload) / bandwidth * TICKS) if bandwidth else 0
            self._send(sender, receiver, streams[receiver], predictions, ticks)
            if ticks:
                self._free[sender] = queue.now + ticks
                queue.at(self._free[sender], Kind.STEP, sender, partial(self._pump, sender))

    def _send(self, sender: int, receiver: int, stream: _Stream, what: Sent | Frame, ticks: int) -> None:
        stream.sent += 1
        arrives = self._queue.now + ticks + self._transit("frame", stream.number, stream.sent)
        stream.last = max(stream.last, arrives)
        deliver = partial(self._deliver, sender, receiver, stream, stream.sent, what)
        self._queue.at(stream.last, Kind.DELIVERY, receiver, deliver)

    def _deliver(self, sender: int, receiver: int, stream: _Stream, number: int, what: Sent | Frame) -> None:
        if stream.broken:
            return
        if isinstance(what, Sent):
            ticks = self._transit("ack", stream.number, number)
            self._queue.at(self._queue.now + ticks, Kind.ACK, sender, partial(self._acked, sender, stream))
        self._receive(receiver, sender, what)

    def _acked(self, sender: int, stream: _Stream) -> None:
        if not stream.broken:
            stream.outbox.acked(self._queue.now)
            self._pump(sender)

    def _transit(self, *names: int | str) -> int:
        """The ticks that a frame takes. Its random numbers depend on `names`, not on the order of events."""
        c = self._conditions
        units = c.delay
        if c.jitter:
            units += c.jitter * self._draw(*names, "jitter")
        tries = 0
        while c.loss and self._draw(*names, "loss", tries) < c.loss:  # lost again
            tries += 1
            units += RETRANSMISSION / c.step_seconds + 2 * c.delay
        return round(units * TICKS)

    def _draw(self, *names: int | str) -> float:
        return uniform(self._seed, "link", *names)
