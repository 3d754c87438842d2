"""A peer's own predictions to send: encoded once for each packing, and kept for streams that begin later.

A packing is an encoding and its parameters: how predictions are written on the wire.
"""

from torch import Tensor

from edgekd.protocol.codec import encode
from edgekd.protocol.encodings import Packing
from edgekd.protocol.messages import Hello, SoftPredictions
from edgekd.protocol.outbox import Outbox, payload


class Outgoing:
    """The newest predictions of this peer.

    Args:
        packing: used for every neighbour that can read it.
        lockstep: synchronous mode. A new stream then starts with the last two rounds, else with the last one.
    """

    def __init__(self, packing: Packing, *, lockstep: bool) -> None:
        self._packing, self._lockstep = packing, lockstep
        self._recent: list[tuple[int, Tensor]] = []  # round and predictions, oldest first
        self._newest: dict[Packing, SoftPredictions] = {}

    def add(self, round: int, log_probs: Tensor) -> None:
        """Add the log-probabilities of a round, ``[heads, rows, classes]`` in CPU memory."""
        self._recent = [*self._recent, (round, log_probs)][-2 if self._lockstep else -1 :]
        self._newest = {}

    def newest(self, packing: Packing) -> SoftPredictions:
        """The predictions that were added last, encoded with `packing`. There must be some."""
        if packing not in self._newest:
            round, log_probs = self._recent[-1]
            self._newest[packing] = encode(log_probs, round, packing)
        return self._newest[packing]

    def packing_for(self, hello: Hello) -> Packing:
        """This peer's packing if the neighbour can read it, else the first encoding in the neighbour's Hello."""
        return self._packing if self._packing.encoding in hello.encodings else Packing(hello.encodings[0])

    def outbox(self, packing: Packing) -> Outbox[SoftPredictions]:
        """Make the outbox (the queue of unsent frames) of a new stream; it first sends the newest rounds again."""
        again = tuple(encode(log_probs, round, packing) for round, log_probs in self._recent)
        return Outbox(lockstep=self._lockstep, size=payload, again=again)
