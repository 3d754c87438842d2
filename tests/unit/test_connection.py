"""What is sent over one stream, in which order, and what happens to a neighbour that does not read."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from hellos import hello

from edgekd.protocol.encodings import Packing
from edgekd.protocol.messages import Ack, Encoding, Frame, Goodbye, Heartbeat, Parting, SoftPredictions
from edgekd.protocol.outbox import Outbox, payload
from edgekd.protocol.timing import LAN
from peer.network.connection import Connection
from peer.transports.base import Stream
from peer.transports.memory import IN_FLIGHT, MemoryNetwork, MemoryTransport

DEADLINE = 20.0  # seconds
BEAT = Heartbeat(step=1, steps=2, round=3, done=False)
OWED = 10_000


def frame(round: int) -> SoftPredictions:
    return SoftPredictions(round=round, encoding=Encoding.FLOAT16, heads=1, rows=1, classes=2, payload=b"abcd")


def with_connection(scenario: Callable[[Connection, Stream], Awaitable[None]]) -> None:
    async def main() -> None:
        transport, there = MemoryTransport(MemoryNetwork()), asyncio.Queue[Stream]()
        over = asyncio.Event()

        async def accept(stream: Stream) -> None:
            await there.put(stream)
            await over.wait()

        address = await transport.listen("127.0.0.1:0", accept)
        stream = await transport.dial(address, timeout=1.0)
        outbox: Outbox[SoftPredictions] = Outbox(lockstep=False, size=payload)
        packing = Packing(Encoding.FLOAT16)
        connection = Connection(stream, hello(1), 0, packing, outbox, timing=LAN, clock=lambda: 0.0)
        await asyncio.wait_for(scenario(connection, await there.get()), DEADLINE)
        over.set()
        await transport.close()

    asyncio.run(main())


def test_heartbeat_comes_first_then_acknowledgements_then_predictions_and_the_goodbye_last() -> None:
    async def scenario(connection: Connection, there: Stream) -> None:
        connection.send_soon(Goodbye(parting=Parting.DONE))
        connection.publish(frame(7))
        connection.newest = 5
        connection.acknowledge()
        connection.send_soon(BEAT)
        await connection.write(lambda: BEAT, lambda sent: None)
        got: list[Frame] = [await there.receive() for _ in range(4)]
        assert got == [BEAT, Ack(round=5), frame(7), Goodbye(parting=Parting.DONE)]

    with_connection(scenario)


def test_newer_heartbeat_takes_the_place_of_the_older_and_still_probes() -> None:
    async def scenario(connection: Connection, there: Stream) -> None:
        connection.send_soon(replace(BEAT, probe=True))
        connection.send_soon(replace(BEAT, step=2))
        connection.send_soon(Goodbye(parting=Parting.LEAVING))
        await connection.write(lambda: BEAT, lambda sent: None)
        assert await there.receive() == replace(BEAT, step=2, probe=True)

    with_connection(scenario)


def test_acknowledgements_owed_to_a_neighbour_that_does_not_read_are_counted_and_none_is_lost() -> None:
    async def scenario(connection: Connection, there: Stream) -> None:
        writing = asyncio.create_task(connection.write(lambda: BEAT, lambda sent: None))
        for _ in range(OWED):
            connection.acknowledge()
        await asyncio.sleep(0)
        connection.send_soon(Goodbye(parting=Parting.DONE))
        got = 0
        while not isinstance(frame := await there.receive(), Goodbye):
            got += isinstance(frame, Ack)
        assert got == OWED
        await writing

    with_connection(scenario)


def test_neighbour_that_takes_nothing_is_stalled_until_it_reads() -> None:
    async def scenario(connection: Connection, there: Stream) -> None:
        for _ in range(2 * IN_FLIGHT):
            connection.acknowledge()
        writing = asyncio.create_task(connection.write(lambda: BEAT, lambda sent: None))
        while not connection.is_stalled(LAN.send_within):
            await asyncio.sleep(0)
        assert not connection.is_stalled(LAN.send_within - 1)
        for _ in range(IN_FLIGHT + 1):
            await there.receive()
        while connection.is_stalled(LAN.send_within):
            await asyncio.sleep(0)
        writing.cancel()

    with_connection(scenario)
