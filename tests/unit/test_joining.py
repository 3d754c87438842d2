"""How a newcomer fetches the public file: who sends without end does not keep it from the others."""

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hellos import CONTRACT, hello

from edgekd.errors import ConfigError
from edgekd.protocol.encodings import Packing
from edgekd.protocol.frames import WITHOUT_PREDICTIONS
from edgekd.protocol.messages import Encoding, Goodbye, Parting, Piece
from peer.network import joining
from peer.network.asking import fetch_public
from peer.network.thread import Network
from peer.transports.base import Stream
from peer.transports.by_name import make_transport
from peer.transports.memory import MemoryNetwork, MemoryTransport

CONTENT = bytes(range(256)) * 300
GROUPS = replace(CONTRACT, public_sha256=hashlib.sha256(CONTENT).hexdigest())
ANYWHERE = "127.0.0.1:0"


def sound(file: Path) -> None:
    assert file.is_file()


@contextmanager
def honest(transport: str) -> Iterator[str]:
    network = Network(
        lambda: make_transport(transport, WITHOUT_PREDICTIONS),
        replace(hello(0), contract=GROUPS),
        listen=ANYWHERE,
        peers=(),
        lockstep=False,
        packing=Packing(Encoding.FLOAT16),
        public=lambda: [CONTENT],
    )
    try:
        yield network.start()
    finally:
        network.stop(Goodbye(parting=Parting.LEAVING))


@contextmanager
def endless(transport: str, data: bytes) -> Iterator[str]:
    """Somebody who answers with the same piece again and again."""
    loop, over = asyncio.new_event_loop(), asyncio.Event()
    bound: asyncio.Future[str] = loop.create_future()

    async def send(stream: Stream) -> None:
        await stream.send(replace(hello(1), contract=GROUPS))
        await stream.receive()
        while True:
            await stream.send(Piece(data=data, last=False))
            await asyncio.sleep(0.01)

    async def serve() -> None:
        made = make_transport(transport, WITHOUT_PREDICTIONS)
        bound.set_result(await made.listen(ANYWHERE, send))
        await over.wait()
        await made.close()

    serving = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    serving.start()
    try:
        yield asyncio.run_coroutine_threadsafe(asyncio.wait_for(bound, 30.0), loop).result()
    finally:
        loop.call_soon_threadsafe(over.set)
        serving.join()
        loop.close()


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
@pytest.mark.parametrize("data", [b"", b"x"], ids=["empty", "slow"])
def test_address_that_sends_without_end_does_not_keep_a_newcomer_from_the_next(
    transport: str, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "FIRST_TRY", 0.5)
    file = tmp_path / "public.safetensors"
    with endless(transport, data) as bad, honest(transport) as good:
        assert joining.join([bad, good], file, sound, transport) == GROUPS
    assert file.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [file], "no part of the other is left"


def test_only_a_try_that_was_too_short_is_followed_by_a_longer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    allowed: dict[str, list[float]] = {"slow:1": [], "closed:1": []}

    def fetch(address: str, *arguments: object, within: float) -> object:
        nonlocal now
        allowed[address].append(within)
        if address == "closed:1":
            raise ConnectionError("closed")
        if len(allowed[address]) == 8:
            return GROUPS
        now += within
        raise TimeoutError("too slow")

    monkeypatch.setattr(joining, "fetch", fetch)
    monkeypatch.setattr(joining.time, "monotonic", lambda: now)
    monkeypatch.setattr(joining, "PAUSE", 0.0)
    assert joining.join(["slow:1", "closed:1"], tmp_path / "file", sound, "grpc") == GROUPS
    assert allowed["slow:1"] == [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0]
    assert set(allowed["closed:1"]) == {60.0}


def test_file_that_is_not_sound_is_not_kept_and_what_was_there_stays(tmp_path: Path) -> None:
    def unsound(file: Path) -> None:
        assert file.read_bytes() == CONTENT
        raise ConfigError("it has no images")

    file = tmp_path / "public.safetensors"
    file.write_bytes(b"what was there")
    with (
        honest("grpc") as address,
        pytest.raises(ConnectionError, match="sent no usable public file: it has no images"),
    ):
        joining.fetch(address, file, unsound, "grpc")
    assert file.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("later", range(12))
def test_deadline_that_comes_together_with_a_piece_ends_the_try(later: int) -> None:
    """Before Python 3.12 `asyncio.wait_for` forgets a cancellation at one moment of these."""

    async def scenario() -> None:
        network, piece = MemoryNetwork(), asyncio.Event()

        async def send(stream: Stream) -> None:
            await stream.send(replace(hello(1), contract=GROUPS))
            await stream.receive()
            while True:
                await piece.wait()
                await stream.send(Piece(data=b"x", last=False))
                piece.clear()

        there, here, got = MemoryTransport(network), MemoryTransport(network), asyncio.Event()
        address = await there.listen(ANYWHERE, send)
        fetching = asyncio.ensure_future(fetch_public(here, address, lambda data: got.set(), timeout=30.0))
        piece.set()
        await asyncio.wait_for(got.wait(), 10.0)
        for _ in range(3):
            await asyncio.sleep(0)
        piece.set()
        for _ in range(later):
            await asyncio.sleep(0)
        fetching.cancel()
        done, _ = await asyncio.wait({fetching}, timeout=5.0)
        assert done
        assert fetching.cancelled()
        await there.close()
        await here.close()

    asyncio.run(scenario())
