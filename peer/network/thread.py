"""The network thread: a hub on its own asyncio loop, so that heartbeats are sent while torch computes.

The training thread uses the network only through `Network`. In asynchronous mode no call here makes it wait.
"""

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from edgekd.protocol.board import NEIGHBOURS
from edgekd.protocol.counts import Traffic
from edgekd.protocol.encodings import Packing
from edgekd.protocol.members import Member
from edgekd.protocol.messages import Goodbye, Heartbeat, Hello, State, Training
from edgekd.protocol.timing import LAN, Timing
from edgekd.protocol.waiting import Waiting
from peer.network.hub import Arrival, Hub
from peer.transports.base import Transport

SLICE = 0.2  # seconds after which a waiting training thread checks whether it should stop


class Network:
    """A peer's connections to its neighbours, as the training thread sees them.

    Args:
        make_transport: called on the network thread, since transports belong to its loop.
        hello: this peer's.
        listen: "HOST:PORT"; None: do not listen, only dial.
        peers: "HOST:PORT" or "ID@HOST:PORT" of the neighbours to dial.
        lockstep: synchronous mode.
        packing: how the predictions are encoded.
        public: gives the bytes of the group's public file, for newcomers.
        allow: the ids that may be neighbours; None: any.
        timing: all time limits and intervals.
    """

    def __init__(
        self,
        make_transport: Callable[[], Transport],
        hello: Hello,
        *,
        listen: str | None,
        peers: tuple[str, ...],
        lockstep: bool,
        packing: Packing,
        public: Callable[[], Iterable[bytes | memoryview]] = tuple,
        allow: frozenset[int] | None = None,
        timing: Timing = LAN,
    ) -> None:
        self._make_transport, self.hello, self._listen = make_transport, hello, listen
        self.peers, self._lockstep, self._packing, self._public = peers, lockstep, packing, public
        self._allow, self._timing = allow, timing
        self._copies = concurrent.futures.ThreadPoolExecutor(1, "copies")  # one, so that rounds stay in order
        self._copying: deque[concurrent.futures.Future[None]] = deque()  # those that `look` has not seen done
        self._changed = threading.Condition()
        self._arrivals: Waiting[Arrival] = Waiting(neighbours=NEIGHBOURS)
        self._news = False  # something has changed since the last `look`
        self._hub: Hub | None = None
        self.address = ""  # the bound one, once started
        # Snapshots, replaced whole by the network thread:
        self.members: tuple[Member, ...] = ()
        self.traffic = Traffic()
        self.refused: Counter[str] = Counter()
        self._failure: BaseException | None = None
        self.self_dialled = 0  # how many of `peers` are this peer itself

    def start(self) -> str:
        """Start the thread, listen and begin to dial; return the bound address.

        Raises:
            ConfigError: the address cannot be bound.
        """
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._thread.start()
        try:
            self.address = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        except BaseException:
            self._end_loop()
            raise
        return self.address

    def publish(self, round: int, log_probs: Tensor, ready: Callable[[], None] | None = None) -> None:
        """Broadcast predictions; never blocks.

        Args:
            round: names the public batch that the predictions are about.
            log_probs: log-probabilities, ``[heads, rows, classes]`` in CPU memory; not to be changed afterwards.
            ready: waits until a copy from a device into `log_probs` has finished; None: it has. If it raises an
                error, nothing is sent, and `look` raises the error.
        """
        assert self._hub is not None
        publish = self._hub.publish

        def send() -> None:
            if ready is not None:
                ready()
            self._loop.call_soon_threadsafe(publish, round, log_probs)

        if ready is None:
            send()
        else:
            copying = self._copies.submit(send)  # neither the training thread nor the network's waits for the device
            self._copying.append(copying)
            copying.add_done_callback(lambda _: self._note_news())

    def tell(self, beat: Heartbeat, state: State) -> None:
        """Set the contents of heartbeats and of the status; the round in `beat` is ignored: the hub knows it."""
        assert self._hub is not None
        self._loop.call_soon_threadsafe(self._hub.tell, beat, state)

    def note_disagreements(self, disagreements: Mapping[int, float]) -> None:
        """Set how far each neighbour disagrees with the others, by id, in [0, 1], for the status and the metrics."""
        self._soon(lambda hub: hub.note_disagreements(disagreements))

    def note_training(self, training: Training) -> None:
        """Set what the status says about the training."""
        self._soon(lambda hub: hub.note_training(training))

    def dial_also(self, address: str, id: int) -> None:
        """Dial one more address, at which peer `id` is said to listen; from any thread, at any time after `start`."""
        self._soon(lambda hub: hub.dial_also(address, id))

    def forget(self, address: str) -> None:
        """Undo `dial_also`: stop dialling `address` as soon as a dial there fails."""
        self._soon(lambda hub: hub.forget(address))

    def look(self) -> tuple[tuple[Member, ...], list[Arrival]]:
        """The neighbours, and the predictions that have arrived since the last call, oldest first; never blocks.

        If a neighbour has said goodbye and is down here, all predictions that it sent before are among the arrivals.

        Raises:
            BaseException: a bug has ended a task of the network thread, or `ready` of a `publish` has failed.
        """
        with self._changed:
            if self._failure is not None:
                raise self._failure
            while self._copying and self._copying[0].done():
                self._copying.popleft().result()
            self._news = False
            return self.members, self._arrivals.take()

    def wait_for_news(self, timeout: float, stop: Callable[[], bool]) -> None:
        """Wait until something has changed since the last `look`, `stop()` is true, or `timeout` seconds are over."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not self._news and not stop():
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(min(left, SLICE))

    def _note_news(self) -> None:
        with self._changed:
            self._news = True
            self._changed.notify_all()

    def stop(self, goodbye: Goodbye) -> None:
        """Send a goodbye, free the port and end the thread, within about `timing.stop_timeout` seconds; idempotent."""
        if self._hub is None or not self._thread.is_alive():
            return
        stopping = asyncio.run_coroutine_threadsafe(self._hub.stop(goodbye), self._loop)
        with contextlib.suppress(concurrent.futures.TimeoutError):  # another class than TimeoutError before Python 3.11
            stopping.result(self._timing.stop_timeout)
        self._copies.shutdown(wait=False)
        self._end_loop()

    async def _open(self) -> str:
        self._hub = Hub(
            self._make_transport(),
            self.hello,
            peers=self.peers,
            lockstep=self._lockstep,
            packing=self._packing,
            deliver=self._deliver,
            public=self._public,
            allow=self._allow,
            timing=self._timing,
            changed=self._snapshot,
        )
        return await self._hub.start(self._listen)

    def _deliver(self, arrival: Arrival) -> None:
        with self._changed:
            self._arrivals.put(arrival.peer, arrival)
            self._note_news()

    def _snapshot(self) -> None:
        assert self._hub is not None
        with self._changed:
            self.members = tuple(member for _, member in sorted(self._hub.members.items()))
            self.traffic = self._hub.traffic()
            self.refused = self._hub.refused.copy()
            self.self_dialled = len(self._hub.self_addresses.intersection(self.peers))
            self._failure = self._hub.failure
            self._note_news()

    def _soon(self, do: Callable[[Hub], None]) -> None:
        assert self._hub is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: the network has stopped
            self._loop.call_soon_threadsafe(do, self._hub)

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1.0)
        if not self._thread.is_alive():
            self._loop.close()
