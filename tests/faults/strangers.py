"""Somebody who speaks the wire format as badly as one likes: raw frames over one gRPC stream."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import torch

from edgekd.codec import encode
from edgekd.encodings import Packing
from edgekd.errors import RemoteProtocolError
from edgekd.messages import Ack, Encoding, Frame, Goodbye, Heartbeat, Hello, SoftPredictions
from peer.convert import from_bytes, to_bytes
from peer.grpc_transport import SERVICE

DEADLINE = 30.0  # seconds


class Stranger:
    """One stream to the peer at `address`; says Hello at once, and a heartbeat each second until it is closed.

    Args:
        address: where a real peer listens.
        id: as whom it speaks.
        raw: makes the bytes of its Hello out of what it would be; to say something else.
        **changes: of its Hello, which else is one that fits the peer's.
    """

    def __init__(self, address: str, id: int, *, raw: Callable[[Hello], bytes] = to_bytes, **changes: Any) -> None:
        self.frames: list[Frame] = []
        self.ended = False
        self._news = threading.Condition()
        self._to_send: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._call = self._channel.stream_stream(f"/{SERVICE}/Exchange")(iter(self._to_send.get, None))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.theirs = self.until(Hello)
        ours = replace(self.theirs, **{"id": id, "instance": 10_000 + id, "address": "", "newest_round": -1, **changes})
        self.send_bytes(raw(ours))
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._over = threading.Event()
        self._beating.start()

    def _read(self) -> None:
        try:
            for data in self._call:
                with contextlib.suppress(RemoteProtocolError), self._news:
                    self.frames.append(from_bytes(data))
                    if isinstance(self.frames[-1], SoftPredictions):
                        self.send(Ack(round=self.frames[-1].round))
                    self._news.notify_all()
        except grpc.RpcError:
            pass
        with self._news:
            self.ended = True
            self._news.notify_all()

    def _beat(self) -> None:
        while not self._over.wait(1.0):
            self.send(Heartbeat(step=1, steps=0, round=-1, done=False))

    def send(self, frame: Frame) -> None:
        self.send_bytes(to_bytes(frame))

    def send_bytes(self, data: bytes) -> None:
        self._to_send.put(data)

    def predictions(self, round: int) -> SoftPredictions:
        """Sound ones."""
        contract = self.theirs.contract
        rows = torch.zeros(contract.heads, contract.public_batch, contract.classes).log_softmax(-1)
        return encode(rows, round, Packing(Encoding.FLOAT16))

    def teach(self, *rounds: int) -> None:
        """Send sound predictions about these rounds, in this order."""
        for round in rounds:
            self.send(self.predictions(round))

    def until(self, kind: type, holds: Callable[[Any], bool] = lambda frame: True) -> Any:
        """The first frame of this kind of which it holds; waits for it."""

        def found() -> Any:
            return next((frame for frame in self.frames if isinstance(frame, kind) and holds(frame)), None)

        with self._news:
            assert self._news.wait_for(lambda: found() is not None or self.ended, DEADLINE), self.frames[-5:]
            result = found()
        assert result is not None, f"the stream has ended: {self.frames[-5:]}"
        return result

    def until_refused(self) -> str:
        """Why it was turned away; the stream has ended then."""
        goodbye: Goodbye = self.until(Goodbye)
        with self._news:
            assert self._news.wait_for(lambda: self.ended, DEADLINE)
        return goodbye.detail

    def acked(self, count: int) -> None:
        """Wait until so many of its predictions were acknowledged, refused ones included."""
        deadline = time.monotonic() + DEADLINE
        while sum(isinstance(frame, Ack) for frame in list(self.frames)) < count:
            assert time.monotonic() < deadline, self.frames[-5:]
            time.sleep(0.01)

    def close(self) -> None:
        self._over.set()
        self._beating.join()
        self._to_send.put(None)
        self._call.cancel()
        self._thread.join()
        self._channel.close()
