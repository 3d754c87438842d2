"""With keys, one holder of a sound key cannot keep others out, however many streams it opens."""

import asyncio
import json
import signal
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
