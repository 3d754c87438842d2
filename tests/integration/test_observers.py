"""Keys that open less than a peer's, and keys that open nothing any more: real peers, over either transport."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hellos import hello
from test_peers import SMALL

from edgekd.errors import RemoteProtocolError
from edgekd.exit_codes import ExitCode
from edgekd.protocol.frames import WITHOUT_PREDICTIONS
from edgekd.protocol.messages import Encoding, Frame, Goodbye, Hello, SoftPredictions
from peer.transports.base import StreamClosedError
from peer.transports.by_name import make_transport

TRANSPORTS = ["grpc", "zmq"]
DEADLINE = 60.0  # seconds
PREDICTIONS = SoftPredictions(round=0, encoding=Encoding.FLOAT16, heads=1, rows=1, classes=10, payload=bytes(20))


@pytest.fixture(params=TRANSPORTS)
def group(request: pytest.FixtureRequest, spawn: Any, ports: Any) -> Any:
    """Two peers with keys that dial each other, keys of an observer, their addresses, and the transport."""
    transport = request.param
    assert spawn("certs", "--ids", "0,1", "--observer", "office").wait() == 0
    where = [f"{id}@127.0.0.1:{port}" for id, port in enumerate(ports(2))]

    def start(id: int) -> Any:
        own = ["--listen", where[id][2:], "--peers", where[1 - id], "--certs", f"certs/peer-{id}"]
        return spawn("peer", "--id", id, *own, "--transport", transport, "--json", "--steps", 0, *SMALL)

    peers = [start(id) for id in range(2)]
    for process in peers:
        process.until_exchanging()
    yield peers, where, transport
    for process in peers:
        process.terminate()


def status(spawn: Any, address: str, keys: str, transport: str) -> dict[str, Any]:
    asked = spawn("status", address, "--certs", f"certs/{keys}", "--transport", transport, "--json")
    code = asked.wait()
    (found,) = json.loads("\n".join(asked.out))
    assert isinstance(found, dict)
    assert code == (0 if found["up"] else 1)
    return found


def until_refused(spawn: Any, address: str, transport: str, reason: str) -> dict[str, Any]:
    """The status of a peer, once it counts refusals for this reason."""
    deadline = time.monotonic() + DEADLINE
    while True:
        found = status(spawn, address, "observer-office", transport)
        if found["refused"].get(reason):
            return found
        assert time.monotonic() < deadline, found


async def speak(folder: Path, transport: str, address: str, *frames: Frame) -> list[Frame]:
    """Say these frames over a stream with the keys in `folder`; what is said before it ends."""
    made = make_transport(transport, WITHOUT_PREDICTIONS, folder)
    said: list[Frame] = []
    try:
        stream = await made.dial(address, timeout=DEADLINE)
        for frame in frames:
            await stream.send(frame)
        while True:
            said.append(await asyncio.wait_for(stream.receive(), DEADLINE))
    except (StreamClosedError, RemoteProtocolError):
        return said
    finally:
        await made.close()


def test_key_of_an_observer_opens_the_status_and_nothing_else(group: Any, spawn: Any, tmp_path: Path) -> None:
    (first, _), where, transport = group
    seen = status(spawn, where[0], "observer-office", transport)
    assert (seen["id"], [n["id"] for n in seen["neighbours"] if n["up"]], seen["refused"]) == (0, [1], {})

    fetched = spawn(
        "public", "--from", where[0], "--certs", "certs/observer-office", "--transport", transport, "-o", "copy"
    )
    assert fetched.wait() == ExitCode.TRANSIENT
    assert "observer office may ask for the status, and not for public" in fetched.said
    assert not (tmp_path / "copy").exists()

    keys = tmp_path / "certs" / "observer-office"
    for frames in ([hello(7)], [hello(1)], [PREDICTIONS]):
        what = type(frames[0]).__name__
        said = asyncio.run(speak(keys, transport, where[0], *frames))
        assert [type(frame) for frame in said] == [Hello, Goodbye]
        assert f"observer office may ask for the status, and not for {what}" in said[-1].detail
    after = until_refused(spawn, where[0], transport, "observer")
    assert after["refused"] == {"observer": 4}
    assert [(n["id"], n["up"]) for n in after["neighbours"]] == [(1, True)]
    assert "is down" not in first.said

    mistaken = spawn("peer", "--id", 0, "--certs", "certs/observer-office", "--transport", transport, *SMALL)
    assert mistaken.wait() == 1
    assert "those of observer office" in mistaken.said
    assert "take the folder of a peer" in mistaken.said


def test_key_is_shut_out_of_running_peers_and_let_in_again(group: Any, spawn: Any, tmp_path: Path) -> None:
    (first, second), where, transport = group
    revoke = spawn("certs", "--revoke", "1")
    assert revoke.wait() == 0, revoke.said
    assert f"copy {Path('certs/peer-0/revoked.txt')} into the folder of --certs on the box of peer 0" in revoke.out
    assert not (tmp_path / "certs" / "peer-1" / "revoked.txt").exists()
    shut = first.until_says("peer 1 is down: the key of peer 1 is shut out")
    first.until_says("cannot reach", after=shut)  # nor is it dialled, which is told after a while
    second.until_says("peer 0 refused this peer: ")
    seen = until_refused(spawn, where[0], transport, "revoked")
    assert [(n["id"], n["up"]) for n in seen["neighbours"]] == [(1, False)]
    asked = status(spawn, where[0], "peer-1", transport)
    assert not asked["up"]
    assert "the key of peer 1 is shut out" in asked["error"]

    assert spawn("certs", "--revoke", "observer-office").wait() == 0
    first.until_says("shut out now: observer office, peer 1")
    asked = status(spawn, where[0], "observer-office", transport)
    assert not asked["up"]
    assert "the key of observer office is shut out" in asked["error"]

    for text in ("who is this?", "# nobody\n"):
        (tmp_path / "certs" / "peer-0" / "revoked.txt").write_text(text)
        first.until_says("the keys that were shut out before stay so" if "?" in text else "shut out now: nobody")
    back = time.monotonic()
    for process in (first, second):
        process.until_exchanging(after=back)
    assert status(spawn, where[0], "observer-office", transport)["up"]
