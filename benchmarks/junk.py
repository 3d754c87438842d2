"""Measures what random bytes sent to a peer's port cost the peer: memory, and the time of a step.

    python benchmarks/junk.py [--megabytes 1000] [--seconds 30] [--share 1.2]

Needs Linux and root. Two peers teach one another; the first has --share cores, the other a tenth of a core. Then
--megabytes of noise are sent to the port of the first within --seconds. Before and after that are calm stretches of the
same length. "bytes" is noise over TCP, with a new connection whenever one is closed. "messages" is noise in streams
that begin correctly, each message as long as the transport accepts. Targets: resident memory grows by less than 50 MB,
and a step takes at most 1.2 times as long.
"""

import argparse
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import zmq

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "faults"))

from hosts import Quota, why_no_quota
from processes import Process, addresses, peer, start

from peer.transports.grpc.transport import SERVICE
from peer.transports.zmq.streams import OPENING

NOISE = os.urandom(2**16)  # as long as a message of these peers may be
THROWERS = 16  # sending threads
Throw = Callable[["Pace", str], None]  # sends noise over one connection, until it ends or all noise is sent


class Pace:
    """How much noise is still to be sent, and how fast; shared by all sending threads.

    Args:
        total: bytes to send.
        seconds: in which to send them.
    """

    def __init__(self, total: int, seconds: float) -> None:
        self._total, self._rate, self._began = total, total / seconds, time.monotonic()
        self._deadline = self._began + 2 * seconds
        self._lock = threading.Lock()
        self.thrown = self.connections = 0
        self.seconds = 0.0  # the time that sending took

    @property
    def over(self) -> bool:
        return self.thrown >= self._total or time.monotonic() > self._deadline

    def count(self, thrown: int) -> None:
        """Count `thrown` bytes that were sent; sleep if that was too fast."""
        with self._lock:
            self.thrown += thrown
            due = self._began + self.thrown / self._rate
        time.sleep(max(0.0, due - time.monotonic()))


def throw_bytes(pace: Pace, address: str) -> None:
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=5.0) as connection:
        while not pace.over:
            connection.sendall(NOISE)
            pace.count(len(NOISE))


def throw_grpc(pace: Pace, address: str) -> None:
    def noise() -> "object":
        while not pace.over:
            yield NOISE
            pace.count(len(NOISE))

    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.stream_stream(f"/{SERVICE}/Exchange")(noise())
        with suppress(grpc.RpcError):
            for _ in call:
                pass


def throw_zmq(pace: Pace, address: str) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger, dealer.reconnect_ivl, dealer.sndtimeo = 0, -1, 500
        dealer.connect(f"tcp://{address}")
        with suppress(zmq.Again):  # the connection was closed
            dealer.send(OPENING)
            while not pace.over:
                dealer.send(NOISE)
                pace.count(len(NOISE))


def throw(how: Throw, address: str, total: int, seconds: float) -> Pace:
    """Send `total` bytes of noise within about `seconds`; return what was sent, and over how many connections."""
    pace, began = Pace(total, seconds), time.monotonic()

    def keep_throwing() -> None:
        while not pace.over:
            pace.connections += 1
            how(pace, address)

    throwers = [threading.Thread(target=keep_throwing) for _ in range(THROWERS)]
    for thrower in throwers:
        thrower.start()
    for thrower in throwers:
        thrower.join()
    pace.seconds = time.monotonic() - began
    return pace


def rate(process: Process, during: Callable[[], object]) -> float:
    """The steps/s of a peer while `during` runs."""
    began = time.monotonic()
    during()
    events = [e for e in process.events if e["at"] >= began and e.get("state") == "training"]
    return float((events[-1]["step"] - events[0]["step"]) / (events[-1]["at"] - events[0]["at"]))


def highest_memory(process: Process, over: threading.Event) -> list[int]:
    """Watch a process's memory in a thread until `over` is set; return a list that ends with the most bytes so far."""
    found = [process.memory()]

    def watch() -> None:
        while not over.wait(0.1):
            found.append(max(found[-1], process.memory()))

    threading.Thread(target=watch).start()
    return found


def under_junk(process: Process, address: str, how: Throw, given: argparse.Namespace) -> str:
    paces: list[Pace] = []
    before = rate(process, lambda: time.sleep(given.seconds))
    over = threading.Event()
    memory = highest_memory(process, over)
    total = int(given.megabytes * 1e6)
    under = rate(process, lambda: paces.append(throw(how, address, total, given.seconds)))
    over.set()
    after = rate(process, lambda: time.sleep(given.seconds))
    (pace,) = paces
    thrown = f"{pace.thrown / 1e6:.0f} MB in {pace.seconds:.0f} s over {pace.connections} connections"
    return f"{thrown} | {(memory[-1] - memory[0]) / 1e6:+.1f} MB | {(before + after) / 2 / under:.2f}"


def measure(transport: str, kinds: dict[str, Throw], given: argparse.Namespace) -> None:
    with ExitStack() as stack:
        out = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="junk-")))
        quotas = [Quota(2.0) for _ in range(2)]
        where, processes = addresses(2), []
        for id, quota in enumerate(quotas):
            stack.callback(quota.close)
            settings = ["--steps", 0, "--checkpoint-every", 0, "--transport", transport]
            arguments = peer(id, out, *settings, listen=where[id], peers=where)
            processes.append(start(arguments, out, inside=quota.inside))
            stack.callback(processes[-1].close)
        first = processes[0]
        first.until_exchanging(up=1)
        quotas[0].limit(given.share)
        quotas[1].limit(0.1)
        time.sleep(5.0)
        for name, how in kinds.items():
            row = under_junk(first, where[0], how, given)
            print(f"| {transport} | {name} | {row} |", flush=True)
        for process in processes:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each stretch")
    parser.add_argument("--share", type=float, default=1.2, help="cores for the peer; training fills one")
    given = parser.parse_args()
    if why := why_no_quota():
        sys.exit(why)
    print("| transport | junk | thrown | memory at its highest | time of a step |\n| --- | --- | --- | --- | --- |")
    measure("grpc", {"bytes": throw_bytes, "messages": throw_grpc}, given)
    measure("zmq", {"bytes": throw_bytes, "messages": throw_zmq}, given)


if __name__ == "__main__":
    main()
