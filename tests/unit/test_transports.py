"""One behaviour suite that every transport passes, and what only gRPC can do."""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from edgekd.errors import ConfigError, RemoteProtocolError
from edgekd.keys.certificates import DAYS
from edgekd.keys.keyring import make_keys
from edgekd.protocol.encodings import Packing
from edgekd.protocol.messages import Ack, Contract, Encoding, Goodbye, Heartbeat, Hello, Parting, SoftPredictions
from edgekd.protocol.places import MOST as MAX_STRANGERS
from peer import health
from peer.network.hub import Hub
from peer.transports.base import Stream, StreamClosedError, Transport
from peer.transports.by_name import make_transport
from peer.transports.grpc.transport import MOST_STREAMS, SERVICE, GrpcTransport
from peer.transports.memory import MemoryNetwork, MemoryTransport
from peer.transports.resolving import LookUpError, UnresolvedError
from peer.wire import messagepack
from peer.wire.protobuf import to_bytes

DEADLINE = 30.0  # seconds: far more than anything here takes
DIAL = 2.0  # seconds
LIMIT = 1 << 20  # bytes
ANYWHERE = "127.0.0.1:0"


class Keyed(GrpcTransport):
    """A transport with the keys of peer 0 that expects peer 0 at every address."""

    async def dial(self, address: str, *, timeout: float) -> Stream:
        return await super().dial(f"0@{address}", timeout=timeout)


class Lab:
    """Makes transports that can reach one another, and closes them."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self._network = kind, MemoryNetwork()
        self._keys = folder / "peer-0"
        if kind == "tls":
            make_keys(folder, [0], datetime.now(timezone.utc), DAYS, renew=False)
        self.made: list[Transport] = []

    def transport(self, limit: int = LIMIT) -> Transport:
        made: Transport
        if self.kind == "memory":
            made = MemoryTransport(self._network)
        elif self.kind == "tls":
            made = Keyed(limit, self._keys)
        else:
            made = make_transport(self.kind, limit)
        self.made.append(made)
        return made

    @contextlib.asynccontextmanager
    async def pair(self, limit: int = LIMIT) -> AsyncIterator[tuple[Stream, Stream]]:
        """The dialled and the accepted end of one stream."""
        async with self.listener(limit) as (address, arrivals):
            dialled = await self.transport(limit).dial(address, timeout=DIAL)
            yield dialled, await arrivals.get()

    @contextlib.asynccontextmanager
    async def listener(self, limit: int = LIMIT) -> "AsyncIterator[tuple[str, asyncio.Queue[Stream]]]":
        """An address, and the streams that were dialled to it; they stay open to the end of the block."""
        arrivals: asyncio.Queue[Stream] = asyncio.Queue()
        leave = asyncio.Event()

        async def accept(stream: Stream) -> None:
            arrivals.put_nowait(stream)
            await leave.wait()

        address = await self.transport(limit).listen(ANYWHERE, accept)
        try:
            yield address, arrivals
        finally:
            leave.set()


Scenario = Callable[[Lab], Awaitable[None]]
Run = Callable[[Scenario], None]


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.01)


def run_on(kind: str, scenario: Scenario, caplog: pytest.LogCaptureFixture, folder: Path) -> None:
    async def main() -> None:
        lab = Lab(kind, folder)
        try:
            await asyncio.wait_for(scenario(lab), DEADLINE)
        finally:
            await asyncio.wait_for(asyncio.gather(*(transport.close() for transport in lab.made)), DEADLINE)
        main = asyncio.current_task()
        await asyncio.wait_for(until(lambda: asyncio.all_tasks() <= {main, asyncio.current_task()}), DEADLINE)

    asyncio.run(main())
    gc.collect()  # which is when asyncio tells of exceptions that nobody has seen
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.fixture(params=["memory", "grpc", "tls", "zmq"])
def run(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> Run:
    return lambda scenario: run_on(request.param, scenario, caplog, tmp_path)


@pytest.fixture(params=["grpc", "zmq"])
def run_wire(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> Run:
    return lambda scenario: run_on(request.param, scenario, caplog, tmp_path)


@pytest.fixture
def run_grpc(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> Run:
    return lambda scenario: run_on("grpc", scenario, caplog, tmp_path)


def predictions(size: int) -> SoftPredictions:
    return SoftPredictions(
        round=1, encoding=Encoding.FLOAT16, heads=1, rows=1, classes=max(2, size // 2), payload=bytes(size)
    )


def of_wire_size(size: int, kind: str) -> SoftPredictions:
    """Predictions that are exactly `size` bytes on the wire."""
    packed = messagepack.to_bytes if kind == "zmq" else to_bytes
    frame = predictions(size)
    frame = replace(frame, payload=bytes(size - (len(packed(frame)) - size)))
    assert len(packed(frame)) == size
    return frame


HELLO = Hello(
    major=1,
    minor=2,
    id=0,
    instance=1000,
    contract=Contract(
        public_sha256="ab" * 32, public_batch=4, classes=3, heads=1, temperature=1.0, augment="none", mode="async"
    ),
    encodings=(Encoding.FLOAT16,),
    newest_round=-1,
    address="",
)
BYE = Goodbye(parting=Parting.DONE, detail="so long")


async def received_until_the_end(stream: Stream) -> list[object]:
    frames: list[object] = []
    with contextlib.suppress(StreamClosedError):
        while True:
            frames.append(await stream.receive())
    return frames


def test_frames_go_both_ways_whole_and_in_order(run: Run) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.pair() as (dialled, accepted):
            beat = Heartbeat(step=3, steps=0, round=-1, done=False, accuracy=0.5, probe=True)
            there = [Ack(round=i) for i in range(300)]
            back = [beat, predictions(1000), BYE] * 100

            async def send(stream: Stream, frames: list[object]) -> None:
                for frame in frames:
                    await stream.send(frame)  # type: ignore[arg-type]

            sending = asyncio.gather(send(dialled, [*there]), send(accepted, [*back]))
            assert [await accepted.receive() for _ in there] == there
            assert [await dialled.receive() for _ in back] == back
            await sending

    run(scenario)


def test_each_side_sees_the_other_close_and_goes_on_seeing_it(run: Run) -> None:
    async def scenario(lab: Lab) -> None:
        for closer in (0, 1):
            async with lab.pair() as ends:
                await ends[closer].close()
                other = ends[1 - closer]
                for _ in range(3):
                    with pytest.raises(StreamClosedError):
                        await other.receive()
                with pytest.raises(StreamClosedError):
                    await other.send(BYE)

    run(scenario)


def test_after_its_own_close_a_stream_neither_sends_nor_receives_and_closing_again_is_fine(run: Run) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.pair() as ends:
            for mine, other in (ends, ends[::-1]):
                with contextlib.suppress(StreamClosedError):
                    await other.send(Ack(round=1))  # lies there unread
                await asyncio.gather(mine.close(), mine.close())
                await mine.close()
                with pytest.raises(StreamClosedError):
                    await mine.send(BYE)
                with pytest.raises(StreamClosedError):
                    await mine.receive()

    run(scenario)


def test_what_was_sent_before_close_arrives_up_to_the_last_frame(run: Run) -> None:
    async def scenario(lab: Lab) -> None:
        for closer in (0, 1):
            async with lab.pair() as ends:
                frames = [predictions(100_000), Ack(round=2), BYE]
                reading = asyncio.ensure_future(received_until_the_end(ends[1 - closer]))
                for frame in frames:
                    await ends[closer].send(frame)
                await ends[closer].close()
                assert await reading == frames

    run(scenario)


def test_what_was_sent_before_its_transport_closes_arrives_too(run: Run) -> None:
    async def scenario(lab: Lab) -> None:
        for closer in (0, 1):
            async with lab.pair() as ends:
                listening, dialling = lab.made[-2:]
                frames = [predictions(500_000), BYE]
                reading = asyncio.ensure_future(received_until_the_end(ends[1 - closer]))
                for frame in frames:
                    await ends[closer].send(frame)
                await (dialling, listening)[closer].close()
                assert await reading == frames

    run(scenario)


def test_a_goodbye_arrives_even_if_the_receiver_reads_it_after_the_close(run: Run) -> None:
    async def scenario(lab: Lab) -> None:
        for closer in (0, 1):
            async with lab.pair() as ends:
                await ends[closer].send(BYE)
                closing = asyncio.ensure_future(ends[closer].close())
                with contextlib.suppress(StreamClosedError):
                    for _ in range(20):
                        await ends[1 - closer].send(Ack(round=1))
                assert await ends[1 - closer].receive() == BYE
                await ends[1 - closer].close()
                await closing

    run(scenario)


def test_a_stream_is_closed_when_accept_returns(run: Run) -> None:
    async def scenario(lab: Lab) -> None:
        async def accept(stream: Stream) -> None:
            await stream.send(BYE)

        address = await lab.transport().listen(ANYWHERE, accept)
        stream = await lab.transport().dial(address, timeout=DIAL)
        assert await received_until_the_end(stream) == [BYE]

    run(scenario)


def test_closing_wakes_whoever_waits_to_receive_on_either_side(run: Run) -> None:
    async def scenario(lab: Lab) -> None:
        for closer in (0, 1):
            async with lab.pair() as ends:
                waiting = [asyncio.ensure_future(received_until_the_end(end)) for end in ends]
                await ends[closer].close()
                assert await asyncio.gather(*waiting) == [[], []]

    run(scenario)


def test_who_does_not_read_holds_the_sender_up_and_closing_lets_it_go(run: Run) -> None:
    async def scenario(lab: Lab) -> None:
        for closer in (0, 1):
            async with lab.pair() as ends:
                sent = 0

                async def flood(stream: Stream) -> None:
                    nonlocal sent
                    while True:
                        await stream.send(predictions(50_000))
                        sent += 1

                flooding = asyncio.ensure_future(flood(ends[1 - closer]))
                done, _ = await asyncio.wait({flooding}, timeout=0.5)
                assert not done
                assert 0 < sent < 500
                await ends[closer].close()
                with pytest.raises(StreamClosedError):
                    await flooding

    run(scenario)


def test_closing_what_the_other_side_does_not_read_takes_at_most_the_deadline(run: Run) -> None:
    async def scenario(lab: Lab) -> None:
        for closer in (0, 1):
            async with lab.pair() as ends:
                sending = asyncio.gather(*(ends[closer].send(predictions(900_000)) for _ in range(40)))
                await asyncio.wait({sending}, timeout=0.1)
                began = time.monotonic()
                await ends[closer].close()
                assert time.monotonic() - began < 3.0
                with pytest.raises(StreamClosedError):
                    await sending

    run(scenario)


def test_a_receive_or_send_that_is_cancelled_loses_no_frame_and_harms_no_later_one(run: Run) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.pair() as ends:
            for near, far in (ends, ends[::-1]):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(near.receive(), 0.02)
                sending = asyncio.ensure_future(far.send(Ack(round=0)))
                await asyncio.sleep(0)
                sending.cancel()
                await asyncio.wait({sending})
                for round in range(1, 4):
                    await far.send(Ack(round=round))
                got = await near.receive()
                if got == Ack(round=0):  # the cancelled one may have gone out
                    got = await near.receive()
                assert [got, await near.receive(), await near.receive()] == [Ack(round=i) for i in range(1, 4)]

    run(scenario)


def test_dialling_where_nobody_listens_is_an_os_error_that_names_the_address(run: Run) -> None:
    async def scenario(lab: Lab) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{unused.getsockname()[1]}"
            with pytest.raises(OSError, match=address):
                await asyncio.wait_for(lab.transport().dial(address, timeout=DIAL), 2 * DIAL)

    run(scenario)


def test_why_nobody_is_reached_is_said_in_the_systems_words(run_wire: Run) -> None:
    async def scenario(lab: Lab) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            with pytest.raises(OSError, match=rf"^cannot reach 127.0.0.1:{port}: Connection refused$"):
                await lab.transport().dial(f"127.0.0.1:{port}", timeout=DIAL)
        with pytest.raises(UnresolvedError) as error:
            await lab.transport().dial("nohost.invalid:7000", timeout=DEADLINE)
        assert str(error.value).startswith("cannot reach nohost.invalid:7000: nohost.invalid does not resolve: ")

    run_wire(scenario)


@pytest.mark.parametrize(
    ("error", "kind", "why"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Unknown"), UnresolvedError, "does not resolve: Unknown"),
        (socket.gaierror(socket.EAI_AGAIN, "Nobody answers"), LookUpError, "cannot be looked up: Nobody answers"),
        (OSError(errno.EMFILE, "Too many open files"), LookUpError, "cannot be looked up: Too many open files"),
    ],
    ids=["unknown", "no name server", "no more files"],
)
def test_only_a_name_that_is_unknown_does_not_resolve(
    run_wire: Run, monkeypatch: pytest.MonkeyPatch, error: OSError, kind: type[OSError], why: str
) -> None:
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "nohost.invalid" and not options["flags"] & socket.AI_NUMERICHOST:
            raise error
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def scenario(lab: Lab) -> None:
        with pytest.raises(LookUpError) as raised:
            await lab.transport().dial("nohost.invalid:7000", timeout=DEADLINE)
        assert type(raised.value) is kind
        assert str(raised.value) == f"cannot reach nohost.invalid:7000: nohost.invalid {why}"

    run_wire(scenario)


def test_a_port_that_another_holds_is_a_config_error_and_free_after_close(run: Run) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.pair() as (dialled, accepted):
            listening, other = lab.made[0], lab.transport()

            async def accept(stream: Stream) -> None:
                await stream.send(BYE)

            with pytest.raises(ConfigError, match=r"address in use.*--listen"):
                await other.listen(dialled.remote, accept)
            await accepted.send(Ack(round=1))  # its holder works on
            assert await dialled.receive() == Ack(round=1)
            await listening.close()
            assert await other.listen(dialled.remote, accept) == dialled.remote
            again = await lab.transport().dial(dialled.remote, timeout=DIAL)
            assert await again.receive() == BYE

    run(scenario)


def test_closing_a_transport_twice_or_before_it_was_used_is_fine(run: Run) -> None:
    async def scenario(lab: Lab) -> None:
        await lab.transport().close()
        async with lab.pair():
            for transport in lab.made * 2:
                await transport.close()

    run(scenario)


def test_one_listener_serves_many_streams_and_one_transport_dials_many(run: Run) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener() as (address, arrivals):
            one = lab.transport()
            dialled = [await one.dial(address, timeout=DIAL) for _ in range(10)]
            accepted = [await arrivals.get() for _ in dialled]
            for i, stream in enumerate(dialled):
                await stream.send(Ack(round=i))
            assert {str(await stream.receive()) for stream in accepted} == {str(Ack(round=i)) for i in range(10)}
            await dialled[0].close()
            await dialled[9].send(BYE)

    run(scenario)


def test_two_hundred_dials_leave_no_task_and_no_file_descriptor_behind(run: Run) -> None:
    def open_files() -> int:
        return len(os.listdir("/dev/fd"))

    async def scenario(lab: Lab) -> None:
        async def accept(stream: Stream) -> None:
            while True:  # StreamClosedError is the natural end
                await stream.send(await stream.receive())

        address = await lab.transport().listen(ANYWHERE, accept)
        dialling = lab.transport()

        async def cycle() -> None:
            stream = await dialling.dial(address, timeout=DIAL)
            await stream.send(BYE)
            assert await stream.receive() == BYE
            await stream.close()

        await cycle()
        files, tasks = open_files(), len(asyncio.all_tasks())
        for _ in range(200):
            await cycle()
        await until(lambda: open_files() <= files and len(asyncio.all_tasks()) <= tasks)

    run(scenario)


# -- over a wire --------------------------------------------------------------------------------------


def test_a_frame_of_exactly_the_limit_passes(run_wire: Run) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.pair() as (dialled, accepted):
            frame = of_wire_size(LIMIT, lab.kind)
            for sender, receiver in ((dialled, accepted), (accepted, dialled)):
                sending = asyncio.ensure_future(sender.send(frame))
                assert await receiver.receive() == frame
                await sending

    run_wire(scenario)


def test_a_frame_beyond_the_receivers_limit_is_refused_and_the_stream_goes_on(run_wire: Run) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener() as (address, arrivals):
            dialled = await lab.transport(2 * LIMIT).dial(address, timeout=DIAL)
            accepted = await arrivals.get()
            sending = asyncio.ensure_future(dialled.send(of_wire_size(LIMIT + 1, lab.kind)))
            with pytest.raises(RemoteProtocolError) as raised:
                await accepted.receive()
            assert raised.value.reason == "oversized"
            await sending
            await dialled.send(BYE)
            assert await accepted.receive() == BYE

    run_wire(scenario)


def test_a_frame_far_beyond_the_receivers_limit_ends_its_stream_and_no_other(run_wire: Run) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener() as (address, arrivals):
            generous = lab.transport(4 * LIMIT)
            innocent = await generous.dial(address, timeout=DIAL)
            ends = [await arrivals.get()]
            guilty = await generous.dial(address, timeout=DIAL)
            ends.append(await arrivals.get())
            reading = asyncio.ensure_future(received_until_the_end(ends[1]))
            with contextlib.suppress(StreamClosedError):
                await guilty.send(of_wire_size(3 * LIMIT, lab.kind))
            with pytest.raises(StreamClosedError):
                await guilty.receive()
            await innocent.send(BYE)
            assert await ends[0].receive() == BYE
            assert await reading == []

    run_wire(scenario)


def test_a_frame_beyond_ones_own_limit_ends_the_stream(run_wire: Run) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.pair() as (dialled, _):
            with pytest.raises(StreamClosedError):
                await dialled.send(of_wire_size(LIMIT + 1, lab.kind))

    run_wire(scenario)


# -- gRPC alone ------------------------------------------------------------------------------------------


def test_bytes_that_are_no_frame_are_refused_and_the_stream_goes_on(run_grpc: Run) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener() as (address, arrivals), grpc.aio.insecure_channel(address) as channel:
            call = channel.stream_stream(f"/{SERVICE}/Exchange")()
            stream = await arrivals.get()
            for garbage, reason in ((b"\xff" * 50, "garbled"), (b"", "empty"), (b"\x7a\x02\x08\x01", "unknown")):
                await call.write(garbage)
                with pytest.raises(RemoteProtocolError) as raised:
                    await stream.receive()
                assert raised.value.reason == reason
            await call.write(to_bytes(BYE))
            assert await stream.receive() == BYE
            call.cancel()
            with pytest.raises(StreamClosedError):
                await stream.receive()

    run_grpc(scenario)


def test_a_port_where_something_else_listens_is_an_os_error_within_the_time_out(run_grpc: Run) -> None:
    async def scenario(lab: Lab) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            address = f"127.0.0.1:{mute.getsockname()[1]}"
            with pytest.raises(OSError, match=f"{address}: no answer within 0.3 s"):
                await lab.transport().dial(address, timeout=0.3)
            with pytest.raises(asyncio.TimeoutError):  # a dial that is cancelled leaves nothing behind
                await asyncio.wait_for(lab.transport().dial(address, timeout=DEADLINE), 0.1)
        other = grpc.aio.server()
        address = f"127.0.0.1:{other.add_insecure_port(ANYWHERE)}"
        await other.start()
        try:
            with pytest.raises(OSError, match=f"{address}: what listens there is no edgekd peer"):
                await lab.transport().dial(address, timeout=DIAL)
        finally:
            await other.stop(None)

    run_grpc(scenario)


def test_a_dial_that_was_refused_does_not_go_on_connecting(run_grpc: Run) -> None:
    async def scenario(lab: Lab) -> None:
        with socket.socket() as later:
            later.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            later.bind(("127.0.0.1", 0))
            errors = []
            for _ in range(3):  # held, as whoever tells of them may
                with pytest.raises(OSError, match="refused") as error:
                    await lab.transport().dial(f"127.0.0.1:{later.getsockname()[1]}", timeout=DIAL)
                errors.append(error)
            later.listen()
            later.setblocking(False)
            with pytest.raises(asyncio.TimeoutError):  # longer than gRPC's pause before its next try
                await asyncio.wait_for(asyncio.get_running_loop().sock_accept(later), 1.0)

    run_grpc(scenario)


@pytest.mark.parametrize("address", ["no-such-host.invalid:7000", "192.0.2.1:7000"])
def test_an_address_that_is_not_this_boxs_is_a_config_error(run_grpc: Run, address: str) -> None:
    async def scenario(lab: Lab) -> None:
        async def accept(stream: Stream) -> None: ...

        with pytest.raises(ConfigError, match=address):
            await lab.transport().listen(address, accept)

    run_grpc(scenario)


def http2(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def test_who_opens_streams_and_gives_no_room_to_answer_keeps_nobody_out_for_long(run_grpc: Run) -> None:
    async def scenario(lab: Lab) -> None:
        hub = Hub(
            lab.transport(),
            HELLO,
            peers=(),
            lockstep=False,
            packing=Packing(Encoding.FLOAT16),
            deliver=lambda arrival: None,
        )
        address = await hub.start(ANYWHERE)
        host, _, port = address.rpartition(":")
        named = {":method": "POST", ":scheme": "http", ":path": f"/{SERVICE}/Exchange", ":authority": "x"}
        named |= {"content-type": "application/grpc", "te": "trailers"}
        headers = b"".join(
            b"\0" + bytes([len(k)]) + k.encode() + bytes([len(v)]) + v.encode() for k, v in named.items()
        )
        no_window = (4).to_bytes(2, "big") + bytes(4)  # SETTINGS_INITIAL_WINDOW_SIZE: 0
        async with contextlib.AsyncExitStack() as connections:
            for _ in range(MAX_STRANGERS // MOST_STREAMS):
                _, writer = await asyncio.open_connection(host, int(port))
                connections.callback(writer.close)
                writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + http2(4, 0, 0, no_window))
                for number in range(MOST_STREAMS + 2):  # two are too many
                    writer.write(http2(1, 4, 2 * number + 1, headers))
            await until(lambda: hub._door.strangers == MAX_STRANGERS)
            assert hub.refused["busy"] == 0
            await until(lambda: hub._door.strangers == 0)
        await hub.stop(BYE)

    run_grpc(scenario)


def test_the_health_service_answers_for_the_box_and_for_the_service(run_grpc: Run) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener() as (address, _), grpc.aio.insecure_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for service in ("", "edgekd.v1.Peer"):
                answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            assert await asyncio.to_thread(health.check, address) is None

    run_grpc(scenario)


def test_the_health_command_exits_0_at_a_peer_and_1_with_one_line_elsewhere(run_grpc: Run) -> None:
    async def scenario(lab: Lab) -> None:
        async def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
            line = [sys.executable, "-m", "peer.health", *arguments]
            return await asyncio.to_thread(subprocess.run, line, capture_output=True, text=True, timeout=DEADLINE)

        async with lab.listener() as (address, _):
            assert (await command(address)).returncode == 0
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            nobody = f"127.0.0.1:{unused.getsockname()[1]}"
            result = await command(nobody)
            assert result.returncode == 1
            assert result.stdout == f"{nobody} is not healthy: Connection refused\n"
            unknown = await command("nohost.invalid:7000")
            assert unknown.returncode == 1
            assert unknown.stdout.startswith("nohost.invalid:7000 is not healthy: nohost.invalid does not resolve: ")
        assert (await command()).returncode == 2

    run_grpc(scenario)
