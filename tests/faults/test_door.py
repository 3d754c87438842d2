"""With keys, a holder of a valid key keeps no caller out, and a stranger keeps no neighbour out that the peer dials."""

import asyncio
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from processes import DEADLINE, SLACK, addresses, peer

from edgekd.keys.certificates import DAYS
from edgekd.keys.keyring import make_keys
from edgekd.protocol.frames import WITHOUT_PREDICTIONS
from peer.transports.base import StreamClosedError, Transport
from peer.transports.by_name import make_transport

GETS_IN_WITHIN = 10.0  # seconds, whatever one id does
SILENT = 100  # streams
HALF_OPEN = 1_500  # connections that stop in their handshake
HALF_OPEN_COST = 100_000_000  # bytes; 150 MB without limits
AGAIN = 1.0  # seconds until a stream that was ended is opened anew


async def stay_silent(transport: Transport, address: str) -> None:
    """Open a stream, say nothing over it, and open another one when it has ended."""
    while True:
        with suppress(OSError, StreamClosedError):
            stream = await transport.dial(address, timeout=DEADLINE)
            try:
                while True:
                    await stream.receive()
            finally:
                await stream.close()
        await asyncio.sleep(AGAIN)


@contextmanager
def silent_streams(name: str, keys: Path, address: str) -> Iterator[None]:
    """Many streams of the holder of one key."""
    loop, over = asyncio.new_event_loop(), asyncio.Event()

    async def attack() -> None:
        transport = make_transport(name, WITHOUT_PREDICTIONS, keys)
        tasks = [asyncio.create_task(stay_silent(transport, address)) for _ in range(SILENT)]
        await over.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await transport.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(attack(),))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def status(address: str, *more: object) -> Any:
    command = [sys.executable, "-m", "edgekd", "status", address, "--json", *map(str, more)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (only,) = json.loads(done.stdout)
    return only


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_neighbour_comes_back_and_status_answers_beside_a_hundred_silent_streams_of_one_key(
    transport: str, spawn: Any, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    make_keys(keys, [0, 1, 5], datetime.now(timezone.utc), DAYS, renew=False)
    (where,) = addresses(1)
    how = ["--steps", 0, "--checkpoint-every", 0, "--transport", transport]
    first = spawn([*peer(0, tmp_path, *how, "--certs", keys / "peer-0", listen=None), "--listen", where])
    first.until_step(1)
    second = spawn(peer(1, tmp_path, *how, "--certs", keys / "peer-1", listen=None, peers=[f"0@{where}"]))
    second.until_exchanging()
    second.send_signal(signal.SIGSTOP)
    first.until_says("peer 1 is down")
    with silent_streams(transport, keys / "peer-5", f"0@{where}"):
        asking = [f"0@{where}", "--transport", transport, "--certs", keys / "peer-1"]
        deadline = time.monotonic() + DEADLINE
        while status(*asking)["refused"].get("busy", 0) < SILENT:
            assert time.monotonic() < deadline
        back = time.monotonic()
        second.send_signal(signal.SIGCONT)
        first.until_says("peer 1 is up", after=back, seconds=GETS_IN_WITHIN + SLACK)
        second.until_exchanging(after=back, seconds=GETS_IN_WITHIN + SLACK)
        assert [each["up"] for each in status(*asking)["neighbours"]] == [True]
    for process in (first, second):
        process.terminate()


def half_a_handshake(transport: str) -> bytes:
    """The first bytes of a handshake that a stranger then does not continue: of TLS, or of ZeroMQ with CURVE."""
    if transport == "zmq":
        return b"\xff" + bytes(8) + b"\x7f\3\0CURVE" + bytes(15 + 1 + 31)
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    said = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), said, server_hostname="peer-0.edgekd").do_handshake()
    return said.read()


def has_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(65_536) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@contextmanager
def half_open(transport: str, address: str) -> Iterator[list[int]]:
    """Many connections that stop in their handshake, each dialled anew as soon as it has ended; counts the dials."""
    host, _, port = address.partition(":")
    begin, over, dials = half_a_handshake(transport), threading.Event(), [0]

    def dialled() -> socket.socket | None:
        with suppress(OSError):
            made = socket.create_connection((host, int(port)), 1.0)
            made.sendall(begin)
            made.setblocking(False)
            dials[0] += 1
            return made
        return None

    def attack() -> None:
        open_ones: list[socket.socket | None] = [None] * HALF_OPEN
        while not over.wait(0.05):
            for place, connection in enumerate(open_ones):
                if connection is not None and has_ended(connection):
                    connection.close()
                    open_ones[place] = None
                open_ones[place] = open_ones[place] or dialled()
        for connection in filter(None, open_ones):
            connection.close()

    thread = threading.Thread(target=attack)
    thread.start()
    try:
        yield dials
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_handshakes_that_stop_midway_cost_little_memory_and_no_neighbour_that_the_peer_dials(
    transport: str, spawn: Any, tmp_path: Path
) -> None:
    """Whoever dials in can be kept out by them; the peer's own dials cannot."""
    keys = tmp_path / "keys"
    make_keys(keys, [0, 1], datetime.now(timezone.utc), DAYS, renew=False)
    door, other = addresses(2)
    how = ["--steps", 0, "--checkpoint-every", 0, "--transport", transport]

    def start(id: int, where: str, *more: object) -> Any:
        return spawn([*peer(id, tmp_path, *how, "--certs", keys / f"peer-{id}", listen=None), "--listen", where, *more])

    first = start(0, door, "--peers", f"1@{other}")
    second = start(1, other)  # it dials nobody
    first.until_exchanging()
    before = first.memory()
    with half_open(transport, door) as dials:
        deadline = time.monotonic() + DEADLINE
        while dials[0] < 3 * HALF_OPEN:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        step = first.last["step"]
        first.until(lambda p: p.last["step"] > step + 20 and p.last["up"] == 1 and p.last["age"] is not None)
        second.kill9()
        first.until_says("peer 1 is down")
        shutil.rmtree(tmp_path / "peer-1")
        back = time.monotonic()
        second = start(1, other)
        first.until_says("peer 1 is up", after=back)
        for process in (first, second):
            process.until_exchanging(after=back)
        assert first.memory() - before < HALF_OPEN_COST
    for process in (first, second):
        process.terminate()
