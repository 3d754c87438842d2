"""The links of a simulated group: how long a frame takes, what waits for an uplink, what a broken stream loses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from edgekd.protocol.messages import Frame, SoftPredictions
from edgekd.protocol.outbox import Outbox, payload
from edgekd.seeds import uniform
from edgekd.simulation.events import TICKS, Kind, Queue

RETRANSMISSION = 0.2  # seconds: the least that TCP waits before it sends again what was lost (RFC 6298, as in Linux)


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """Of every link of the group."""

    delay: float = 0.0  # units that each frame takes
    jitter: float = 0.0  # units that it takes longer, at most; drawn evenly
    bandwidth: float | None = None  # bytes a unit of each box's uplink, of predictions; None: without limit
    loss: float = 0.0  # probability, in [0, 1), that one try of a frame is lost; each loss delays it
    step_seconds: float = 1.0  # seconds in a unit


@dataclass(frozen=True, slots=True)
class Sent:
    """Predictions on their way."""

    frame: SoftPredictions
    probs: Tensor  # as the receiver will decode them
    instance: int  # of the sender


def _payload(sent: Sent) -> int:
    return payload(sent.frame)


@dataclass(slots=True)
class _Stream:
    """One direction of a stream between two peers."""

    outbox: Outbox[Sent]
    number: int  # of all streams of the group, for draws of its own
    sent: int = 0  # frames so far
    last: int = 0  # tick at which the newest frame arrives: TCP reorders nothing
    broken: bool = False


class Links:
    """All streams of a group.

    Args:
        queue: the virtual clock.
        neighbours: of each peer, by its id.
        conditions: of every link.
        seed: of jitter and loss.
        receive: called with receiver, sender and what has arrived: predictions or another frame.
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
        self._streams: dict[int, dict[int, _Stream]] = {id: {} for id in neighbours}  # by sender, then receiver
        self._opened = 0
        self.bytes_sent = dict.fromkeys(neighbours, 0)  # of payloads
        self._free = dict.fromkeys(neighbours, 0)  # tick from which a peer's uplink is free
        self._turn = dict.fromkeys(neighbours, -1)  # receiver of its newest predictions: the next one's turn has come

    def open(self, sender: int, receiver: int, again: Sent | None) -> None:
        """Begin the stream's direction from `sender`, with the predictions that the last stream may have lost."""
        self._opened += 1
        outbox: Outbox[Sent] = Outbox(lockstep=False, size=_payload, again=(again,) if again else ())
        self._streams[sender][receiver] = _Stream(outbox, self._opened)

    def start(self, sender: int) -> None:
        """Send what `open` has put into the outboxes."""
        self._pump(sender)

    def cut(self, peer: int) -> None:
        """Break all streams of `peer`, as when its power goes: what is on its way is lost."""
        for stream in self._streams[peer].values():
            stream.broken = True
        self._streams[peer].clear()
        for streams in self._streams.values():
            if stream_to := streams.pop(peer, None):
                stream_to.broken = True

    def close(self, peer: int) -> None:
        """End all streams of `peer`, as after a goodbye: what it has sent still arrives; it is sent no more."""
        self._streams[peer].clear()
        for streams in self._streams.values():
            streams.pop(peer, None)

    def say(self, sender: int, frame: Frame) -> None:
        """Send a frame that is not predictions to every neighbour."""
        for receiver in sorted(self._streams[sender]):
            self.say_to(sender, receiver, frame)

    def say_to(self, sender: int, receiver: int, frame: Frame) -> None:
        """Send a frame that is not predictions to one neighbour; it takes no bandwidth."""
        self._send(sender, receiver, self._streams[sender][receiver], frame, 0)

    def publish(self, sender: int, predictions: Sent) -> int:
        """Have predictions sent to every neighbour; how many that still waited they take the place of."""
        replaced = sum(stream.outbox.put(predictions) for stream in self._streams[sender].values())
        self._pump(sender)
        return replaced

    def _pump(self, sender: int) -> None:
        """Send predictions, neighbour by neighbour in turn, while the uplink is free and somebody may be sent some."""
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
        """Ticks that a frame takes; draws are named, so none depends on the order of events."""
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
