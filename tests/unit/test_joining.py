"""How a newcomer fetches the public file: who sends without end does not keep it from the others."""

import asyncio
import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hellos import CONTRACT, hello

from edgekd.contract import load_public
from edgekd.data.public import make_public
from edgekd.errors import ConfigError
from edgekd.protocol.encodings import Packing
from edgekd.protocol.frames import WITHOUT_PREDICTIONS
from edgekd.protocol.messages import Contract, Encoding, Goodbye, Parting, Piece
from peer.network import joining
from peer.network.asking import fetch_public
from peer.network.thread import Network
from peer.transports.base import Accept, Stream
from peer.transports.by_name import make_transport
from peer.transports.memory import MemoryNetwork, MemoryTransport

CONTENT = bytes(range(256)) * 300
GROUPS = replace(CONTRACT, public_sha256=hashlib.sha256(CONTENT).hexdigest())
ANYWHERE = "127.0.0.1:0"


def sound(file: Path, contract: Contract) -> int:
    return file.stat().st_size


@contextmanager
def honest(transport: str, content: bytes = CONTENT, **changes: object) -> Iterator[str]:
    contract = replace(GROUPS, public_sha256=hashlib.sha256(content).hexdigest(), **changes)  # type: ignore[arg-type]
    network = Network(
        lambda: make_transport(transport, WITHOUT_PREDICTIONS),
        replace(hello(0), contract=contract),
        listen=ANYWHERE,
        peers=(),
        lockstep=False,
        packing=Packing(Encoding.FLOAT16),
        public=lambda: [content],
    )
    try:
        yield network.start()
    finally:
        network.stop(Goodbye(parting=Parting.LEAVING))


@contextmanager
def serving(transport: str, accept: Accept) -> Iterator[str]:
    """Listen in a thread and await `accept` with each stream; yields the address."""
    loop, over = asyncio.new_event_loop(), asyncio.Event()
    bound: asyncio.Future[str] = loop.create_future()

    async def serve() -> None:
        made = make_transport(transport, WITHOUT_PREDICTIONS)
        bound.set_result(await made.listen(ANYWHERE, accept))
        await over.wait()
        await made.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(asyncio.wait_for(bound, 30.0), loop).result()
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def endless(data: bytes) -> Accept:
    """Answers with the same piece again and again."""

    async def send(stream: Stream) -> None:
        await stream.send(replace(hello(1), contract=GROUPS))
        await stream.receive()
        while True:
            await stream.send(Piece(data=data, last=False))
            await asyncio.sleep(0.01)

    return send


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
@pytest.mark.parametrize("data", [b"", b"x"], ids=["empty", "slow"])
def test_address_that_sends_without_end_does_not_keep_a_newcomer_from_the_next(
    transport: str, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "FIRST_TRY", 0.5)
    file = tmp_path / "public.safetensors"
    with serving(transport, endless(data)) as bad, honest(transport) as good:
        assert joining.join([bad, good], file, sound, transport) == (GROUPS, len(CONTENT))
    assert file.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [file], "no part of the other is left"


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_address_that_closes_after_its_hello_does_not_keep_a_newcomer_from_the_next(
    transport: str, tmp_path: Path
) -> None:
    async def close(stream: Stream) -> None:
        await stream.send(replace(hello(1), contract=GROUPS))

    file = tmp_path / "public.safetensors"
    with serving(transport, close) as bad, honest(transport) as good:
        for _ in range(5):  # it depends on which comes first, its end or the question
            assert joining.join([bad, good], file, sound, transport) == (GROUPS, len(CONTENT))


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_whoever_watches_a_fetch_is_told_of_every_byte(transport: str, tmp_path: Path) -> None:
    arrived: list[int] = []
    with honest(transport) as good:
        joining.fetch(good, tmp_path / "f", sound, transport, watch=lambda total: nullcontext(arrived.append))
    assert sum(arrived) == len(CONTENT)


def test_only_a_try_that_was_too_short_is_followed_by_a_longer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    allowed: dict[str, list[float]] = {"slow:1": [], "closed:1": []}

    def fetch(address: str, *arguments: object, within: float, watch: object) -> object:
        nonlocal now
        allowed[address].append(within)
        if address == "closed:1":
            raise ConnectionError("closed")
        if len(allowed[address]) == 8:
            return GROUPS, 0
        now += within
        raise TimeoutError("too slow")

    monkeypatch.setattr(joining, "fetch", fetch)
    monkeypatch.setattr(joining.time, "monotonic", lambda: now)
    monkeypatch.setattr(joining, "PAUSE", 0.0)
    assert joining.join(["slow:1", "closed:1"], tmp_path / "file", sound, "grpc") == (GROUPS, 0)
    assert allowed["slow:1"] == [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0]
    assert set(allowed["closed:1"]) == {60.0}


def test_file_that_is_not_sound_is_not_kept_and_what_was_there_stays(tmp_path: Path) -> None:
    def unsound(file: Path, contract: Contract) -> None:
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


def public(classes: tuple[str, ...] = ("a", "b", "c"), images: int = 4, augment: str = "crop") -> bytes:
    made = make_public(torch.zeros(images, 3, 8, 8, dtype=torch.uint8), classes, augment)
    return b"".join(made.pieces())


@pytest.mark.parametrize(
    ("content", "changes", "why"),
    [
        (b"nonsense", {}, "is not a public file of edgekd"),
        (public(classes=("a", "b")), {}, "the contract says classes 3, the public file 2"),
        (public(augment="none"), {}, "the contract says augmentation crop, the public file none"),
        (public(), {"public_batch": 5}, "the public set has 4 images, fewer than a public batch of 5"),
    ],
    ids=["no public file", "classes", "augmentation", "too few images"],
)
def test_file_that_is_not_what_its_contract_says_is_thrown_away_and_the_next_address_asked(
    tmp_path: Path, content: bytes, changes: dict[str, object], why: str
) -> None:
    file = tmp_path / "public.safetensors"
    with honest("grpc", content, **changes) as bad, honest("grpc", public()) as good:
        with pytest.raises(ConnectionError, match=why):
            joining.fetch(bad, file, load_public, "grpc")
        assert not list(tmp_path.iterdir())
        contract, read = joining.join([bad, good], file, load_public, "grpc")
    assert contract.public_sha256 == read.sha256 == hashlib.sha256(public()).hexdigest()
    assert file.read_bytes() == public()


def test_newcomer_to_whom_all_send_what_it_cannot_use_says_so(tmp_path: Path) -> None:
    with (
        honest("grpc", public(augment="none")) as one,
        honest("grpc", b"nonsense") as other,
        pytest.raises(ConfigError, match=r"no address has a public file that this peer can use: .*augment.*; .*is not"),
    ):
        joining.join([one, other], tmp_path / "public.safetensors", load_public, "grpc")
    assert not list(tmp_path.iterdir())


def test_address_that_does_not_answer_may_still_have_what_the_other_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "PAUSE", 0.0)
    tries = {"unusable:1": 0, "closed:1": 0}

    def fetch(address: str, *arguments: object, within: float, watch: object) -> object:
        tries[address] += 1
        if address == "unusable:1":
            raise joining.UnusableError("of no use")
        if tries[address] < 3:
            raise ConnectionError("closed")
        return GROUPS, 0

    monkeypatch.setattr(joining, "fetch", fetch)
    assert joining.join([*tries], tmp_path / "file", sound, "grpc") == (GROUPS, 0)
    assert tries == {"unusable:1": 1, "closed:1": 3}, "the unusable one would send the same again"


def test_peer_that_was_found_and_is_of_no_use_is_asked_again_only_when_it_is_found_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(joining, "PAUSE", 0.0)
    rounds = [(), ("unusable:1",), ("unusable:1",), (), ("unusable:1",), ("unusable:1", "good:1")]
    looked, asked = iter(rounds), []

    def fetch(address: str, *arguments: object, within: float, watch: object) -> object:
        asked.append(address)
        if address == "unusable:1":
            raise joining.UnusableError("unusable:1 sent no usable public file: it has no images")
        return GROUPS, 0

    monkeypatch.setattr(joining, "fetch", fetch)
    with caplog.at_level(logging.INFO, "edgekd"):
        assert joining.join([], tmp_path / "file", sound, "grpc", found=lambda: next(looked)) == (GROUPS, 0)
    assert asked == ["unusable:1", "unusable:1", "good:1"]
    why = "unusable:1 sent no usable public file: it has no images; it is not asked again, others are"
    assert caplog.messages == [why, "fetched the public file from good:1"]


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
        fetching = asyncio.ensure_future(fetch_public(here, address, lambda data: got.set(), timeout=30.0, within=60.0))
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
