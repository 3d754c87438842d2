"""What ZeroMQ alone does: who is let in with which key, what strangers send, what libzmq leaves undone."""

import asyncio
import contextlib
import errno
import gc
import itertools
import logging
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio
from zmq.auth import create_certificates

from edgekd.errors import ConfigError, RemoteProtocolError
from edgekd.protocol.messages import Ack, Encoding, Goodbye, Parting, SoftPredictions
from peer.transports.base import Stream, StreamClosedError
from peer.transports.grpc.transport import GrpcTransport
from peer.transports.resolving import why_unreachable
from peer.transports.zmq.listening import MAX_STRANGERS, Listener, _is_newer
from peer.transports.zmq.streams import END, MORE, OPENING, WINDOW
from peer.transports.zmq.transport import ZmqTransport
from peer.wire.messagepack import to_bytes

DEADLINE = 30.0  # seconds: far more than anything here takes
DIAL = 5.0  # seconds
LIMIT = 1 << 17  # bytes
ANYWHERE = "127.0.0.1:0"
BYE = Goodbye(parting=Parting.DONE, detail="so long")


class Lab:
    """Makes transports, and closes them."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def transport(self, keys: Path | None = None, limit: int = LIMIT) -> ZmqTransport:
        self.made.append(ZmqTransport(limit, keys))
        return self.made[-1]  # type: ignore[no-any-return]

    @contextlib.asynccontextmanager
    async def listener(
        self, keys: Path | None = None, address: str = ANYWHERE
    ) -> "AsyncIterator[tuple[str, asyncio.Queue[Stream]]]":
        """An address, and the streams that were dialled to it; they stay open to the end of the block."""
        arrivals: asyncio.Queue[Stream] = asyncio.Queue()
        leave = asyncio.Event()

        async def accept(stream: Stream) -> None:
            arrivals.put_nowait(stream)
            await leave.wait()

        try:
            yield await self.transport(keys).listen(address, accept), arrivals
        finally:
            leave.set()


Scenario = Callable[[Lab], Awaitable[None]]


def run(scenario: Scenario) -> None:
    async def main() -> None:
        lab = Lab()
        try:
            await asyncio.wait_for(scenario(lab), DEADLINE)
        finally:
            await asyncio.wait_for(asyncio.gather(*(each.close() for each in lab.made)), DEADLINE)

    asyncio.run(main())
    gc.collect()


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def stranger(address: str, kind: int = zmq.DEALER) -> "Any":
    """A socket of another program, connected to `address`."""
    with zmq.asyncio.Context() as context, context.socket(kind) as made:
        made.linger = 0
        made.connect(f"tcp://{address}")
        yield made


def predictions(size: int) -> SoftPredictions:
    return SoftPredictions(round=1, encoding=Encoding.FLOAT16, heads=1, rows=1, classes=2, payload=bytes(size))


# -- frames and streams --------------------------------------------------------------------------------------------


def test_who_does_not_read_holds_up_no_other_stream_of_the_listener() -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener() as (address, arrivals):
            one = lab.transport()
            _deaf, open_eared = [await one.dial(address, timeout=DIAL) for _ in range(2)]
            ends = [await arrivals.get() for _ in range(2)]

            async def flood(stream: Stream) -> None:
                while True:
                    await stream.send(predictions(60_000))

            flooding = asyncio.ensure_future(flood(ends[0]))
            for round in range(100):
                await ends[1].send(Ack(round=round))
                assert await open_eared.receive() == Ack(round=round)
            assert not flooding.done()
            flooding.cancel()

    run(scenario)


def test_bytes_that_are_no_frame_are_refused_and_the_stream_goes_on() -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener() as (address, arrivals):
            with stranger(address) as other:
                await other.send(OPENING)
                assert await other.recv() == OPENING
                stream = await arrivals.get()
                for garbage, reason in ((b"\xff" * 50, "garbled"), (b"", "garbled"), (b"\x80", "empty")):
                    await other.send(garbage)
                    with pytest.raises(RemoteProtocolError) as raised:
                        await stream.receive()
                    assert raised.value.reason == reason
                await other.send(to_bytes(BYE))
                assert await stream.receive() == BYE
            with pytest.raises(StreamClosedError):
                await stream.receive()

    run(scenario)


@pytest.mark.parametrize("how", ["more than its window", "several parts", "opens twice"])
def test_who_breaks_the_rules_of_a_stream_is_cut_off(how: str) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener() as (address, arrivals):
            with stranger(address) as other:
                other.reconnect_ivl = -1
                await other.send(OPENING)
                assert await other.recv() == OPENING
                stream = await arrivals.get()
                if how == "more than its window":
                    for _ in range(WINDOW + 1):
                        await other.send(to_bytes(BYE))
                elif how == "several parts":
                    await other.send_multipart([to_bytes(BYE)] * 2)
                else:
                    await other.send(OPENING)
                    with pytest.raises(RemoteProtocolError):  # it is no frame
                        await stream.receive()
                    return
                await ends_while_it_sends(stream)

    run(scenario)


async def ends_while_it_sends(stream: Stream) -> None:
    with contextlib.suppress(StreamClosedError):
        while True:
            await stream.send(BYE)
    with contextlib.suppress(StreamClosedError):  # what came before is still to be read
        for _ in range(WINDOW + 1):
            assert await stream.receive() == BYE
        pytest.fail("it took more than a window")


def test_a_listener_that_breaks_the_rules_ends_its_stream_too() -> None:
    async def scenario(lab: Lab) -> None:
        with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as other:
            other.linger = 0
            address = f"127.0.0.1:{other.bind_to_random_port('tcp://127.0.0.1')}"
            dialling = asyncio.ensure_future(lab.transport().dial(address, timeout=DIAL))
            identity, _ = await other.recv_multipart()
            await other.send_multipart([identity, OPENING])
            stream = await dialling
            await other.send_multipart([identity, to_bytes(BYE), to_bytes(BYE)])
            with pytest.raises(RemoteProtocolError):
                await stream.receive()
            for _ in range(2 * WINDOW):
                await other.send_multipart([identity, to_bytes(BYE)])
            await ends_while_it_sends(stream)

    run(scenario)


def test_who_does_not_answer_the_end_is_cut_off() -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener() as (address, arrivals):
            with stranger(address) as other:
                monitor = other.get_monitor_socket(zmq.EVENT_DISCONNECTED)
                await other.send(OPENING)
                assert await other.recv() == OPENING
                await (await arrivals.get()).close()
                assert await other.recv() == END
                await monitor.recv_multipart()
                other.disable_monitor()
                monitor.close()

    run(scenario)


# -- strangers -----------------------------------------------------------------------------------------------------


def test_a_port_where_something_else_listens_is_an_os_error_within_the_time_out() -> None:
    async def scenario(lab: Lab) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            address = f"127.0.0.1:{mute.getsockname()[1]}"
            with pytest.raises(OSError, match=f"{address}: no answer within 0.3 s"):
                await lab.transport().dial(address, timeout=0.3)
            with pytest.raises(asyncio.TimeoutError):  # a dial that is cancelled leaves nothing behind
                await asyncio.wait_for(lab.transport().dial(address, timeout=DEADLINE), 0.1)

        async def accept(stream: Stream) -> None: ...

        grpc = GrpcTransport(LIMIT)
        lab.made.append(grpc)
        address = await grpc.listen(ANYWHERE, accept)
        with pytest.raises(OSError, match=f"{address}: (what listens there speaks HTTP|no answer)"):
            await lab.transport().dial(address, timeout=1.0)
        with pytest.raises(OSError, match=r"no-such-host\.invalid"):
            await lab.transport().dial("no-such-host.invalid:7000", timeout=DEADLINE)

    run(scenario)


def test_another_program_of_zeromqs_is_no_peer() -> None:
    async def scenario(lab: Lab) -> None:
        with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as other:
            other.linger = 0
            address = f"127.0.0.1:{other.bind_to_random_port('tcp://127.0.0.1')}"
            dialling = asyncio.ensure_future(lab.transport().dial(address, timeout=DIAL))
            identity, opening = await other.recv_multipart()
            assert opening == OPENING
            await other.send_multipart([identity, b"what?"])
            with pytest.raises(OSError, match=f"{address}: what listens there is no edgekd peer"):
                await dialling

    run(scenario)


def test_who_does_not_open_a_stream_is_refused_and_the_port_serves_on(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener() as (address, arrivals):
            with stranger(address) as other:
                monitor = other.get_monitor_socket(zmq.EVENT_DISCONNECTED)
                await other.send(b"what?")
                await monitor.recv_multipart()
                other.disable_monitor()
                monitor.close()
            for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 1000, b"\0" * 5):
                with socket.create_connection(parts(address)) as raw:
                    raw.sendall(junk)
            dialled = await lab.transport().dial(address, timeout=DIAL)
            await dialled.send(BYE)
            assert await (await arrivals.get()).receive() == BYE

    with caplog.at_level(logging.INFO, "edgekd"):
        run(scenario)
    assert any("refused somebody at 127.0.0.1:" in line and "is not edgekd's" in line for line in caplog.messages)


def test_connection_that_says_nothing_at_all_is_news_of_no_weight(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever dials a peer that does not listen yet finds out why, and then it may listen."""

    async def scenario(lab: Lab) -> None:
        async with lab.listener() as (address, _):
            assert await why_unreachable(parts(address)) == "the connection was closed at once"
            await until(lambda: any("broke off the handshake" in line for line in caplog.messages))

    with caplog.at_level(logging.INFO, "edgekd"):
        run(scenario)
    assert {record.levelname for record in caplog.records} == {"INFO"}


def parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


CALLERS = """
import sys, time
import zmq
from peer.transports.zmq.streams import END, OPENING

address, first = sys.argv[1:]
with zmq.Context() as context:
    one = context.socket(zmq.DEALER)
    one.connect(f"tcp://{address}")
    if first == "opened":
        one.send(OPENING)
        one.recv()
        sys.stdin.readline()
        print("waits", flush=True)
        time.sleep(0.2)  # the listener must not run any more
    one.send({"opened": END, "opens": OPENING, "junk": b"junk"}[first])
    one.close(linger=5000)
    time.sleep(0.5)  # it has ended, and its descriptor is free again
    other = context.socket(zmq.DEALER)
    other.linger, other.reconnect_ivl = 0, -1
    other.connect(f"tcp://{address}")
    other.send(OPENING)
    time.sleep(0.5)
    print("sent", flush=True)
    print("answered" if other.poll(10_000) and other.recv() == OPENING else "no answer", flush=True)
    sys.stdin.readline()  # it is not cut off afterwards either
    print("cut off" if other.get_monitor_socket(zmq.EVENT_DISCONNECTED).poll(500) else "open", flush=True)
    other.disable_monitor()
    other.close()
"""


@pytest.mark.parametrize("first", ["opened", "opens", "junk"])
@pytest.mark.parametrize("news_first", [True, False])
def test_late_message_of_a_connection_that_has_ended_harms_no_caller_with_its_descriptor(
    first: str, news_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop stands still while the first connection ends and the next one begins, so nothing of both is read yet."""
    admit, stalled = Listener._admit, asyncio.Event()

    async def scenario(lab: Lab) -> None:
        callers: subprocess.Popen[str]

        def stall() -> None:
            assert callers.stdout is not None
            assert callers.stdout.readline() == "sent\n"
            stalled.set()

        def admit_and_stall(listener: Listener) -> None:
            admit(listener)
            if first != "opened" and not stalled.is_set():  # the first handshake has needed the loop for the last time
                stall()

        monkeypatch.setattr(Listener, "_admit", admit_and_stall)
        async with lab.listener() as (address, arrivals):
            command = [sys.executable, "-c", CALLERS, address, first]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as callers:
                assert callers.stdout is not None
                if first == "opened":
                    await arrivals.get()
                    print(file=callers.stdin, flush=True)
                    assert await asyncio.to_thread(callers.stdout.readline) == "waits\n"
                    stall()
                await stalled.wait()
                if news_first:  # as after the pause between two reads of news
                    lab.made[0]._listener._take_news()
                assert await asyncio.to_thread(callers.stdout.readline) == "answered\n"
                print(file=callers.stdin, flush=True)
                assert await asyncio.to_thread(callers.stdout.readline) == "open\n"

    run(scenario)


def test_names_of_connections_count_up() -> None:
    """`Listener` tells by them which of two connections is the later one."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        port = router.bind_to_random_port("tcp://127.0.0.1")
        names = []
        for _ in range(5):
            with context.socket(zmq.DEALER) as dealer:
                dealer.connect(f"tcp://127.0.0.1:{port}")
                dealer.send(b"")
                names.append(router.recv_multipart()[0])
        assert all(_is_newer(later, name) for name, later in itertools.pairwise(names))
        assert not any(_is_newer(name, later) for name, later in itertools.pairwise(names))
    assert _is_newer(b"\0\0\0\0\1", b"\0\xff\xff\xff\xff"), "the count begins anew at its end"


def test_strangers_that_stay_silent_push_out_one_another_and_no_peer() -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener() as (address, arrivals), contextlib.AsyncExitStack() as open_ones:
            first = await lab.transport().dial(address, timeout=DIAL)
            accepted = await arrivals.get()
            streams = [await asyncio.open_connection(*parts(address)) for _ in range(MAX_STRANGERS + 10)]
            for _, writer in streams:
                open_ones.callback(writer.close)
            read = asyncio.gather(*(reader.read() for reader, _ in streams[:10]), return_exceptions=True)
            await read  # the oldest have been cut off
            await first.send(BYE)
            assert await accepted.receive() == BYE
            assert await lab.transport().dial(address, timeout=DIAL)

    run(scenario)


@pytest.mark.parametrize("address", ["no-such-host.invalid:7000", "192.0.2.1:7000"])
def test_an_address_that_is_not_this_boxs_is_a_config_error(address: str) -> None:
    async def scenario(lab: Lab) -> None:
        async def accept(stream: Stream) -> None: ...

        with pytest.raises(ConfigError, match=address):
            await lab.transport().listen(address, accept)

    run(scenario)


@pytest.mark.parametrize("host", ["[::1]", "localhost", "0.0.0.0"])
def test_peers_meet_over_ipv6_and_by_name(host: str) -> None:
    if host == "[::1]" and not has_ipv6():
        pytest.skip("no IPv6 here")

    async def scenario(lab: Lab) -> None:
        async with lab.listener(address=f"{host}:0") as (address, arrivals):
            dialled = await lab.transport().dial(address, timeout=DIAL)
            accepted = await arrivals.get()
            assert accepted.remote.rpartition(":")[0] in ("[::1]", "127.0.0.1")
            await dialled.send(BYE)
            assert await accepted.receive() == BYE

    run(scenario)


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


# -- keys ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def group(tmp_path: Path) -> Callable[[int], Path]:
    """The folder of keys of each peer of a group of three."""
    for id in range(3):
        folder = tmp_path / str(id)
        (folder / "curve").mkdir(parents=True)
        renew(folder)
    for id in range(3):
        for other in range(3):
            introduce(tmp_path / str(id), to=tmp_path / str(other))
    return lambda id: tmp_path / str(id)


def renew(folder: Path) -> None:
    """Give a peer another pair."""
    create_certificates(folder, "curve")


def introduce(folder: Path, *, to: Path) -> None:
    """Copy a peer's public key to another peer."""
    shutil.copy(folder / "curve.key", to / "curve" / f"{folder.name}.key")


Group = Callable[[int], Path]


async def meets(lab: Lab, keys: Path | None, address: str, arrivals: "asyncio.Queue[Stream]") -> tuple[Stream, Stream]:
    dialled = await lab.transport(keys).dial(address, timeout=DIAL)
    accepted = await asyncio.wait_for(arrivals.get(), DEADLINE)
    await dialled.send(BYE)
    assert await accepted.receive() == BYE
    await accepted.send(Ack(round=1))
    assert await dialled.receive() == Ack(round=1)
    return dialled, accepted


def test_each_side_knows_whose_key_the_other_holds(group: Group) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener(group(0)) as (address, arrivals):
            for id in (1, 2):
                dialled, accepted = await meets(lab, group(id), f"0@{address}", arrivals)
                assert (dialled.holder, accepted.holder) == (0, id)
                assert dialled.remote == address
                assert accepted.remote.startswith("127.0.0.1:")

    run(scenario)


def test_without_keys_nobody_proves_who_it_is() -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener() as (address, arrivals):
            dialled, accepted = await meets(lab, None, f"7@{address}", arrivals)
            assert (dialled.holder, accepted.holder) == (None, None)

    run(scenario)


def refused(
    caplog: pytest.LogCaptureFixture, here: Path | None, there: Path | None, name: str, why: str, said: str
) -> None:
    """Check that a dial with keys `here` to a listener with keys `there` fails with `why`, and is logged with `said`.

    The side that first sees that the keys do not match closes the connection, so the other may not know the reason.
    ZeroMQ tries twice before it is closed, and a try can end before its address is read. So the listener may log two
    lines, and each may be without an address.
    """

    def lines() -> list[str]:
        return [line for line in caplog.messages if line.startswith("refused somebody at ")]

    async def scenario(lab: Lab) -> None:
        async with lab.listener(there) as (address, arrivals):
            with pytest.raises(OSError, match=why) as raised:
                await lab.transport(here).dial(f"{name}{address}", timeout=DIAL)
            assert isinstance(raised.value, ConnectionError)
            assert address in str(raised.value)
            await until(lambda: any(re.search(said, line) for line in lines()))
            assert arrivals.empty()

    with caplog.at_level(logging.INFO, "edgekd"):
        run(scenario)
    assert all(re.match(r"refused somebody at (127\.0\.0\.1|an address unknown): ", line) for line in lines()), lines()


MISMATCH = "uses keys and (this|that) one does not|, uses none, or|, or one that uses keys"


def test_a_key_that_is_not_the_groups_is_refused(group: Group, caplog: pytest.LogCaptureFixture) -> None:
    renew(group(1))
    said = r"127\.0\.0\.1: its key is none of the group's"
    refused(caplog, group(1), group(0), "0@", "peer 0 does not admit this peer's key", said)


def test_a_listener_with_another_key_is_refused(group: Group, caplog: pytest.LogCaptureFixture) -> None:
    renew(group(0))
    refused(caplog, group(1), group(0), "0@", "does not hold the key of peer 0", "takes another key for this peer's")


def test_another_peer_than_the_one_that_was_meant_is_refused(group: Group, caplog: pytest.LogCaptureFixture) -> None:
    refused(caplog, group(1), group(0), "2@", "does not hold the key of peer 2", "takes another key for this peer's")


def test_no_key_is_refused_where_keys_are_used(group: Group, caplog: pytest.LogCaptureFixture) -> None:
    refused(caplog, None, group(0), "0@", MISMATCH, "uses keys")


def test_a_key_is_refused_where_none_are_used(group: Group, caplog: pytest.LogCaptureFixture) -> None:
    refused(caplog, group(1), None, "0@", MISMATCH, "uses no keys")


def test_with_keys_the_address_has_to_say_whose_to_ask_for(group: Group) -> None:
    async def scenario(lab: Lab) -> None:
        with pytest.raises(ConnectionError, match=r"write ID@127\.0\.0\.1:7000"):
            await lab.transport(group(0)).dial("127.0.0.1:7000", timeout=DIAL)
        with pytest.raises(ConnectionError, match=r"curve/9.key.*edgekd certs"):
            await lab.transport(group(0)).dial("9@127.0.0.1:7000", timeout=DIAL)

    run(scenario)


def test_a_peer_is_admitted_and_expelled_without_a_stop(group: Group) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener(group(0)) as (address, arrivals):
            _, accepted = await meets(lab, group(1), f"0@{address}", arrivals)
            (group(0) / "curve" / "2.key").unlink()
            with pytest.raises(ConnectionRefusedError):
                await lab.transport(group(2)).dial(f"0@{address}", timeout=DIAL)
            introduce(group(2), to=group(0))
            await meets(lab, group(2), f"0@{address}", arrivals)
            await accepted.send(BYE)  # nothing of it concerns the others

    run(scenario)


def test_a_dialling_peers_key_is_changed_without_a_stop(group: Group) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener(group(0)) as (address, arrivals):
            one = lab.transport(group(1))
            before = await one.dial(f"0@{address}", timeout=DIAL)
            renew(group(1))
            introduce(group(1), to=group(0))
            after = await one.dial(f"0@{address}", timeout=DIAL)
            for stream in (before, after):
                await stream.send(BYE)
                accepted = await arrivals.get()
                assert (accepted.holder, await accepted.receive()) == (1, BYE)

    run(scenario)


def test_a_listening_peers_key_is_changed_without_a_stop(group: Group) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener(group(0)) as (address, arrivals):
            one = lab.transport(group(1))
            before, accepted = await meets(lab, group(1), f"0@{address}", arrivals)
            renew(group(0))
            introduce(group(0), to=group(1))

            async def redial() -> Stream:
                while True:
                    with contextlib.suppress(OSError):
                        return await one.dial(f"0@{address}", timeout=DIAL)
                    await asyncio.sleep(0.05)

            after = await redial()
            await after.send(BYE)
            assert await (await arrivals.get()).receive() == BYE
            for stream in (before, accepted):  # a stream that was accepted with the old key is dialled again
                with pytest.raises(StreamClosedError):
                    await stream.receive()

    run(scenario)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("curve.key_secret", None, r"cannot read .*curve\.key_secret: no such file; `edgekd certs`"),
        ("curve.key_secret", b"", r"curve\.key_secret holds no CURVE key; `edgekd certs`"),
        ("curve.key_secret", b"public-key\n", "holds no CURVE key"),
        ("curve.key_secret", b"public-key = 'short'\n", "holds no CURVE key"),
        ("curve.key_secret", b"public-key = '" + b"\xff" * 40 + b"'\n", "holds no CURVE key"),
        ("curve.key_secret", b"public-key = '" + b"a" * 40 + b"'\n", "no secret key to its public one"),
        ("curve", None, r"no folder .*curve with the public keys of the group; `edgekd certs`"),
    ],
)
def test_missing_and_damaged_key_files_are_config_errors(
    group: Group, name: str, content: bytes | None, why: str
) -> None:
    file = group(0) / name
    if content is not None:
        file.write_bytes(content)
    elif file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink()
    with pytest.raises(ConfigError, match=why):
        ZmqTransport(LIMIT, group(0))


def test_a_damaged_key_of_another_peer_shuts_out_that_peer_alone(group: Group) -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener(group(0)) as (address, arrivals):
            (group(0) / "curve" / "1.key").write_bytes(b"\xff")
            (group(0) / "curve" / "notes.key").write_text("no key")
            with pytest.raises(ConnectionRefusedError):
                await lab.transport(group(1)).dial(f"0@{address}", timeout=DIAL)
            await meets(lab, group(2), f"0@{address}", arrivals)

    run(scenario)


# -- beside gRPC ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["grpc, zmq", "zmq, grpc"])
def test_zeromq_and_grpc_work_in_one_process_whichever_is_imported_first(order: str) -> None:
    program = BOTH.format(order=order)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE)
    assert (done.returncode, done.stdout) == (0, "both\n"), done.stderr


BOTH = """
import asyncio
import {order}
from edgekd.protocol.messages import Ack
from peer.transports.by_name import make_transport

async def meet(name):
    listening, dialling = make_transport(name, 4096), make_transport(name, 4096)
    async def accept(stream):
        await stream.send(await stream.receive())
    stream = await dialling.dial(await listening.listen("127.0.0.1:0", accept), timeout=10)
    await stream.send(Ack(round=1))
    assert await stream.receive() == Ack(round=1)
    await dialling.close()
    await listening.close()

async def main():
    await asyncio.gather(meet("grpc"), meet("zmq"))

asyncio.run(main())
print("both")
"""


def command(name: bytes, body: bytes) -> bytes:
    """A command of ZMTP 3."""
    named = bytes([len(name)]) + name + body
    return bytes([4, len(named)]) + named


def test_of_many_who_connect_at_once_and_say_nothing_more_only_so_many_are_kept() -> None:
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\0" + bytes(31)
    kind = bytes([11]) + b"Socket-Type" + (6).to_bytes(4, "big") + b"DEALER"

    async def scenario(lab: Lab) -> None:
        async with lab.listener() as (address, arrivals):
            host, _, port = address.rpartition(":")
            strangers = [await asyncio.open_connection(host, int(port)) for _ in range(200)]
            for _, writer in strangers:
                writer.write(greeting + command(b"READY", kind))
            kept = lab.made[0]._listener._callers
            while not MAX_STRANGERS - 5 <= len(kept) <= MAX_STRANGERS:
                await asyncio.sleep(0.01)
            dialled = await lab.transport().dial(address, timeout=DIAL)
            await dialled.send(BYE)
            assert await (await arrivals.get()).receive() == BYE
            for _, writer in strangers:
                writer.close()

    run(scenario)


def test_who_grants_what_it_cannot_have_read_is_cut_off() -> None:
    async def scenario(lab: Lab) -> None:
        async with lab.listener() as (address, arrivals):
            with stranger(address) as dealer:
                await dealer.send(OPENING)
                accepted = await arrivals.get()
                await dealer.send(MORE)
                with pytest.raises(StreamClosedError):
                    await accepted.receive()

    run(scenario)


def test_key_file_that_is_damaged_shuts_out_its_peer_alone(group: Callable[[int], Path]) -> None:
    file = group(0) / "curve" / "1.key"
    sound = file.read_text()
    key = sound.partition('public-key = "')[2][:40]

    async def scenario(lab: Lab) -> None:
        async with lab.listener(group(0)) as (address, arrivals):
            file.write_text(sound.replace(key, "#####" * 8))  # groups of five that are more than 32 bits
            with pytest.raises(ConnectionError, match="does not admit this peer's key"):
                await lab.transport(group(1)).dial(f"0@{address}", timeout=DIAL)
            await lab.transport(group(2)).dial(f"0@{address}", timeout=DIAL)
            assert (await arrivals.get()).holder == 2
            file.write_text(sound)
            await lab.transport(group(1)).dial(f"0@{address}", timeout=DIAL)
            assert (await arrivals.get()).holder == 1

    run(scenario)


def test_no_room_for_one_more_socket_is_an_error_that_names_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(context: Any, kind: int) -> Any:
        raise zmq.ZMQError(errno.EMFILE)

    async def scenario(lab: Lab) -> None:
        transport = lab.transport()
        monkeypatch.setattr(zmq.Context, "socket", full)
        with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1:0: Too many open files"):
            await transport.listen(ANYWHERE, lambda stream: asyncio.sleep(0))

    run(scenario)
