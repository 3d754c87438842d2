"""A client that can send invalid messages to a peer: raw bytes over one stream, with either transport."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import grpc
import torch
import zmq

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.codec import encode
from edgekd.protocol.encodings import Packing
from edgekd.protocol.messages import Ack, Encoding, Frame, Goodbye, Heartbeat, Hello, SoftPredictions
from peer.transports.grpc.transport import SERVICE
from peer.transports.zmq.streams import END, GRANT, MORE, OPENING, WINDOW
from peer.wire import messagepack, protobuf

DEADLINE = 30.0  # seconds


class GrpcWire:
    """Raw messages over a gRPC call."""

    to_bytes, from_bytes = staticmethod(protobuf.to_bytes), staticmethod(protobuf.from_bytes)
    empty = b""  # a frame without content

    def __init__(self, address: str) -> None:
        self._to_send: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._call = self._channel.stream_stream(f"/{SERVICE}/Exchange")(iter(self._to_send.get, None))

    def send(self, data: bytes) -> None:
        self._to_send.put(data)

    def received(self) -> Iterator[bytes]:
        with contextlib.suppress(grpc.RpcError):
            yield from self._call

    def close(self) -> None:
        self._to_send.put(None)
        self._call.cancel()
        self._channel.close()


class ZmqWire:
    """Raw messages over a DEALER socket. It obeys the flow control of the stream, and no other rule."""

    to_bytes, from_bytes = staticmethod(messagepack.to_bytes), staticmethod(messagepack.from_bytes)
    empty = b"\x80"

    def __init__(self, address: str) -> None:
        self._to_send: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._address, self._over = address, threading.Event()

    def send(self, data: bytes) -> None:
        self._to_send.put(data)

    def received(self) -> Iterator[bytes]:
        with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.linger, dealer.reconnect_ivl = 0, -1
            with dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED) as lost:
                dealer.connect(f"tcp://{self._address}")
                dealer.send(OPENING)
                yield from self._frames(dealer, lost)
                dealer.disable_monitor()

    def _frames(self, dealer: Any, lost: Any) -> Iterator[bytes]:
        room, read = WINDOW, 0
        while not self._over.is_set():
            while room and not self._to_send.empty():
                dealer.send(self._to_send.get())
                room -= 1
            while dealer.poll(5):
                data = dealer.recv()
                if data == END:
                    return
                if data == MORE:
                    room += GRANT
                elif data != OPENING:
                    read += 1
                    if read % GRANT == 0:
                        dealer.send(MORE)
                    yield data
            if lost.poll(0):
                return

    def close(self) -> None:
        self._over.set()


WIRES = {"grpc": GrpcWire, "zmq": ZmqWire}


class Stranger:
    """One stream to the peer at `address`. It sends a Hello at once, then a heartbeat each second until it is closed.

    Args:
        address: of a real peer.
        id: the id in its Hello.
        transport: "grpc" or "zmq".
        raw: makes the first bytes to send from the Hello, to send something invalid; None: the Hello itself.
        **changes: fields of its Hello to change. Without changes, the peer accepts the Hello.
    """

    def __init__(
        self,
        address: str,
        id: int,
        *,
        transport: str = "grpc",
        raw: Callable[[Hello], bytes] | None = None,
        **changes: Any,
    ) -> None:
        self.frames: list[Frame] = []
        self.ended = False
        self._news = threading.Condition()
        self._wire = WIRES[transport](address)
        self.empty = self._wire.empty
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.theirs = self.until(Hello)
        ours = replace(self.theirs, **{"id": id, "instance": 10_000 + id, "address": "", "newest_round": -1, **changes})
        self.send_bytes((raw or self._wire.to_bytes)(ours))
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._over = threading.Event()
        self._beating.start()

    def packed(self, frame: Frame) -> bytes:
        """The bytes of a frame on this transport."""
        return bytes(self._wire.to_bytes(frame))

    def _read(self) -> None:
        for data in self._wire.received():
            with contextlib.suppress(RemoteProtocolError), self._news:
                self.frames.append(self._wire.from_bytes(data))
                if isinstance(self.frames[-1], SoftPredictions):
                    self.send(Ack(round=self.frames[-1].round))
                self._news.notify_all()
        with self._news:
            self.ended = True
            self._news.notify_all()

    def _beat(self) -> None:
        while not self._over.wait(1.0):
            self.send(Heartbeat(step=1, steps=0, round=-1, done=False))

    def send(self, frame: Frame) -> None:
        self.send_bytes(self.packed(frame))

    def send_bytes(self, data: bytes) -> None:
        self._wire.send(data)

    def predictions(self, round: int) -> SoftPredictions:
        """Valid predictions of a round."""
        contract = self.theirs.contract
        rows = torch.zeros(contract.heads, contract.public_batch, contract.classes).log_softmax(-1)
        return encode(rows, round, Packing(Encoding.FLOAT16))

    def teach(self, *rounds: int) -> None:
        """Send valid predictions of these rounds, in this order."""
        for round in rounds:
            self.send(self.predictions(round))

    def until(self, kind: type, holds: Callable[[Any], bool] = lambda frame: True) -> Any:
        """Wait for the first frame of this kind for which `holds` is true, and return it."""

        def found() -> Any:
            return next((frame for frame in self.frames if isinstance(frame, kind) and holds(frame)), None)

        with self._news:
            assert self._news.wait_for(lambda: found() is not None or self.ended, DEADLINE), self.frames[-5:]
            result = found()
        assert result is not None, f"the stream has ended: {self.frames[-5:]}"
        return result

    def until_refused(self) -> str:
        """Wait until the peer has refused it and ended the stream; return the reason in the peer's goodbye."""
        goodbye: Goodbye = self.until(Goodbye)
        with self._news:
            assert self._news.wait_for(lambda: self.ended, DEADLINE)
        return goodbye.detail

    def acked(self, count: int) -> None:
        """Wait until `count` of its predictions were acknowledged; refused ones count, too."""
        deadline = time.monotonic() + DEADLINE
        while sum(isinstance(frame, Ack) for frame in list(self.frames)) < count:
            assert time.monotonic() < deadline, self.frames[-5:]
            time.sleep(0.01)

    def close(self) -> None:
        self._over.set()
        self._beating.join()
        self._wire.close()
        self._thread.join()
