"""The protocol over every transport: one behaviour suite (Hello, refusal, heartbeats, latest wins, who stays)."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, replace

import pytest
import torch
from hellos import CONTRACT, hello

from edgekd.protocol.codec import encode
from edgekd.protocol.encodings import Packing
from edgekd.protocol.frames import LONGEST_ADDRESS
from edgekd.protocol.guard import REFUSALS
from edgekd.protocol.messages import (
    Ack,
    Ask,
    Asked,
    Encoding,
    Goodbye,
    Heartbeat,
    Hello,
    Parting,
    State,
    Training,
)
from edgekd.protocol.places import MOST as MAX_STRANGERS
from edgekd.protocol.rations import STATUS_EVERY, STATUSES
from edgekd.protocol.timing import LAN, WAN, Timing
from peer.network.asking import ask_status, fetch_public
from peer.network.hub import Arrival, Hub
from peer.transports.base import Stream, StreamClosedError, Transport
from peer.transports.by_name import make_transport
from peer.transports.memory import IN_FLIGHT, MemoryNetwork, MemoryTransport

DEADLINE = 20.0  # seconds: far more than any of this takes


def predictions() -> torch.Tensor:
    return torch.log_softmax(torch.randn(1, 4, 3), dim=-1)


class Group:
    """Some hubs on one kind of transport, closed at the end."""

    def __init__(self, kind: str) -> None:
        self._kind, self._network = kind, MemoryNetwork()
        self.hubs: list[Hub] = []
        self.transports: list[Transport] = []
        self.arrived: dict[Hub, list[Arrival]] = {}
        self._news = asyncio.Event()

    def transport(self) -> Transport:
        made = MemoryTransport(self._network) if self._kind == "memory" else make_transport(self._kind, 1 << 16)
        self.transports.append(made)
        return made

    async def start(
        self,
        who: Hello,
        peers: tuple[str, ...] = (),
        lockstep: bool = False,
        listen: str | None = "127.0.0.1:0",
        public: Callable[[], Iterable[bytes | memoryview]] = tuple,
        timing: Timing = LAN,
        clock: Callable[[], float] = time.monotonic,
    ) -> tuple[Hub, str]:
        arrived: list[Arrival] = []

        def deliver(arrival: Arrival) -> None:
            arrived.append(arrival)
            self._news.set()

        hub = Hub(
            self.transport(),
            who,
            peers=peers,
            lockstep=lockstep,
            packing=Packing(Encoding.FLOAT16),
            deliver=deliver,
            public=public,
            timing=timing,
            clock=clock,
            changed=lambda: self._news.set(),
        )
        self.hubs.append(hub)
        self.arrived[hub] = arrived
        return hub, await hub.start(listen)

    async def until(self, holds: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not holds():
                self._news.clear()
                # Heartbeats and acks change nothing that is announced, hence the second look.
                await asyncio.wait([asyncio.ensure_future(self._news.wait())], timeout=0.05)

        await asyncio.wait_for(wait(), DEADLINE)

    async def close(self) -> None:
        await asyncio.gather(*(hub.stop(Goodbye(parting=Parting.LEAVING)) for hub in self.hubs))
        await asyncio.gather(*(transport.close() for transport in self.transports))


@pytest.fixture(params=["memory", "grpc", "zmq"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[Group], Awaitable[None]]], None]:
    def run_it(scenario: Callable[[Group], Awaitable[None]]) -> None:
        async def main() -> None:
            group = Group(request.param)
            try:
                await scenario(group)
            finally:
                await group.close()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not [task for task in left if not task.done() and "hub" in repr(task)]

        asyncio.run(main())

    return run_it


Run = Callable[[Callable[[Group], Awaitable[None]]], None]


def up(hub: Hub, id: int) -> bool:
    return id in hub.members and hub.members[id].up


def test_neighbours_come_up_and_predictions_arrive_both_ways(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0))
        b, _ = await group.start(hello(1), peers=(where,))
        await group.until(lambda: up(a, 1) and up(b, 0))
        a.publish(0, predictions())
        b.publish(3, predictions())
        await group.until(lambda: bool(group.arrived[a]) and bool(group.arrived[b]))
        assert [(x.peer, x.round) for x in group.arrived[a]] == [(1, 3)]
        assert [(x.peer, x.round) for x in group.arrived[b]] == [(0, 0)]
        assert group.arrived[a][0].probs.shape == (1, 4, 3)
        assert a.members[1].round == 3
        await group.until(lambda: a.members[1].bytes_sent == 4 * 3 * 2)

    run(scenario)


def test_order_of_starting_does_not_matter_and_a_box_that_only_dials_takes_full_part(run: Run) -> None:
    async def scenario(group: Group) -> None:
        place, where = await group.start(hello(9))
        await place.stop(Goodbye(parting=Parting.LEAVING))
        b, address = await group.start(hello(1), peers=(where,), listen=None)
        assert address == ""
        a, _ = await group.start(hello(0), listen=where)
        await group.until(lambda: up(a, 1) and up(b, 0))
        a.publish(0, predictions())
        b.publish(0, predictions())
        await group.until(lambda: bool(group.arrived[a]) and bool(group.arrived[b]))

    run(scenario)


def test_newcomer_is_told_the_newest_predictions_again(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0))
        for round in range(3):
            a.publish(round, predictions())
        b, _ = await group.start(hello(1), peers=(where,))
        await group.until(lambda: bool(group.arrived[b]))
        assert [x.round for x in group.arrived[b]] == [2]
        assert b.members[0].round == 2

    run(scenario)


def test_in_lockstep_a_new_stream_starts_with_the_last_two(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0), lockstep=True)
        for round in range(3):
            a.publish(round, predictions())
        b, _ = await group.start(hello(1), peers=(where,), lockstep=True)
        await group.until(lambda: len(group.arrived[b]) == 2)
        assert [x.round for x in group.arrived[b]] == [1, 2]

    run(scenario)


def test_pair_that_dials_both_ways_keeps_one_stream(run: Run) -> None:
    async def scenario(group: Group) -> None:
        place, where = await group.start(hello(9))
        await place.stop(Goodbye(parting=Parting.LEAVING))
        a, first = await group.start(hello(0), peers=(where,))
        b, _ = await group.start(hello(1), peers=(first,), listen=where)

        def settled() -> bool:
            streams = [*a._neighbours.connections.values(), *b._neighbours.connections.values()]
            return len(streams) == 2 and all(c.dialled_by == 0 for c in streams)

        await group.until(settled)
        a.publish(0, predictions())
        await group.until(lambda: bool(group.arrived[b]))

    run(scenario)


def test_address_that_it_is_told_of_later_is_dialled_once_however_often_it_is_told(run: Run) -> None:
    async def scenario(group: Group) -> None:
        dialled: list[int] = []

        async def listen(id: int) -> str:
            async def accept(stream: Stream) -> None:
                dialled.append(id)
                await stream.send(hello(id))
                while True:
                    await stream.receive()

            return await group.transport().listen("127.0.0.1:0", accept)

        a, _ = await group.start(hello(0))
        first, second = await listen(1), await listen(2)
        for address in (first, first, second):
            a.dial_also(address, 1 if address == first else 2)
        await group.until(lambda: 2 in dialled and 1 in dialled)
        a.dial_also(first, 1)
        a.dial_also(await listen(3), 3)
        await group.until(lambda: 3 in dialled)
        assert sorted(dialled) == [1, 2, 3]

    run(scenario)


def test_peer_that_is_connected_is_not_dialled_at_another_address_too(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0))
        b, other = await group.start(hello(1), peers=(where,))
        await group.until(lambda: up(a, 1) and up(b, 0))
        a.dial_also(other, 1)
        c, third = await group.start(hello(2))
        a.dial_also(third, 2)
        await group.until(lambda: up(a, 2) and up(c, 0))
        assert a._neighbours.connections[1].dialled_by == 1, "its own stream has stayed"

    run(scenario)


def test_forgotten_address_is_dialled_until_nobody_answers_there_and_again_when_it_is_told_anew(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, _ = await group.start(hello(0))
        b, where = await group.start(hello(1))
        a.dial_also(where, 1)
        await group.until(lambda: up(a, 1))
        a.forget(where)
        await b.stop(Goodbye(parting=Parting.LEAVING))
        await group.until(lambda: not a._dialler.dials(where))
        a.dial_also(where, 1)
        await group.start(hello(1, instance=22), listen=where)
        await group.until(lambda: up(a, 1) and a.members[1].instance == 22)

    run(scenario)


def test_address_that_it_was_started_with_is_not_forgotten(run: Run) -> None:
    async def scenario(group: Group) -> None:
        b, where = await group.start(hello(1))
        a, _ = await group.start(hello(0), peers=(where,))
        await group.until(lambda: up(a, 1))
        a.forget(where)
        await b.stop(Goodbye(parting=Parting.LEAVING))
        await group.until(lambda: not up(a, 1))
        await group.start(hello(1, instance=22), listen=where)
        await group.until(lambda: up(a, 1))

    run(scenario)


def test_own_address_among_the_peers_is_fine(run: Run) -> None:
    async def scenario(group: Group) -> None:
        place, where = await group.start(hello(9))
        await place.stop(Goodbye(parting=Parting.LEAVING))
        a, _ = await group.start(hello(0), peers=(where,), listen=where)
        await group.until(lambda: a.self_addresses == {where})
        assert a.members == {}
        assert not a.refused

    run(scenario)


def test_stranger_that_echoes_a_hello_does_not_switch_off_a_dial_for_good(run: Run) -> None:
    async def scenario(group: Group) -> None:
        echoes: list[Hello] = []

        async def echo(stream: Stream) -> None:
            theirs = await stream.receive()
            assert isinstance(theirs, Hello)
            echoes.append(theirs)
            await stream.send(theirs)

        stranger = group.transport()
        where = await stranger.listen("127.0.0.1:0", echo)
        a, _ = await group.start(hello(0), peers=(where,), timing=replace(LAN, self_again=0.05))
        await group.until(lambda: a.self_addresses == {where})
        await stranger.close()
        await group.start(hello(1), listen=where)
        await group.until(lambda: up(a, 1))
        assert echoes
        assert a.self_addresses == set()

    run(scenario)


def test_another_contract_is_refused_on_both_sides_and_names_what_differs(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0))
        other = replace(CONTRACT, temperature=2.0)
        b, _ = await group.start(hello(1, contract=other), peers=(where,))
        await group.until(lambda: a.refused["contract"] > 0 and b.refused["contract"] > 0)
        assert not up(a, 1)
        assert not up(b, 0)

    run(scenario)
    said = caplog.text
    assert "temperature: 1.0 here, 2.0 there" in said
    assert "temperature: 2.0 here, 1.0 there" in said


def test_another_major_version_is_refused_and_another_minor_is_not(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0))
        b, _ = await group.start(hello(1, minor=7), peers=(where,))
        c, _ = await group.start(hello(2, major=2), peers=(where,))
        await group.until(lambda: up(a, 1) and up(b, 0) and a.refused["contract"] > 0 and c.refused["contract"] > 0)
        assert not up(a, 2)

    run(scenario)


def test_second_live_process_with_one_id_is_refused_and_told_where_the_first_runs(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0))
        _, first = await group.start(hello(1, instance=11), peers=(where,))
        await group.until(lambda: up(a, 1))
        await group.start(hello(1, instance=22), peers=(where,))
        await group.until(lambda: a.refused["id"] > 0)
        assert a.members[1].instance == 11
        assert a.members[1].up
        assert f"peer 1 already runs at {first}" in caplog.text

    run(scenario)


def test_leaving_neighbour_is_down_at_once_and_its_new_instance_is_welcome(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0))
        b, _ = await group.start(hello(1, instance=11), peers=(where,))
        await group.until(lambda: up(a, 1))
        await b.stop(Goodbye(parting=Parting.LEAVING))
        await group.until(lambda: not up(a, 1))
        await group.start(hello(1, instance=22), peers=(where,))
        await group.until(lambda: up(a, 1) and a.members[1].instance == 22)

    run(scenario)


def test_goodbye_follows_the_emptied_outbox(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0), lockstep=True)
        b, _ = await group.start(hello(1), peers=(where,), lockstep=True)
        await group.until(lambda: up(a, 1) and up(b, 0))
        a.publish(0, predictions())
        a.publish(1, predictions())
        a.tell(Heartbeat(step=2, steps=2, round=1, done=True), State.LINGERING)
        await a.stop(Goodbye(parting=Parting.DONE))
        await group.until(lambda: not up(b, 0))
        assert [x.round for x in group.arrived[b]] == [0, 1]
        assert b.members[0].done

    run(scenario)


def test_unsound_predictions_are_refused_counted_and_the_stream_goes_on(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0))
        b, _ = await group.start(hello(1), peers=(where,))
        await group.until(lambda: up(a, 1) and up(b, 0))
        good = encode(predictions(), 1, Packing(Encoding.FLOAT16))
        b._neighbours.connections[0].publish(replace(good, round=0, payload=b"\xff" * len(good.payload)))
        await group.until(lambda: sum(a.refused.values()) == 1)
        assert a.members[1].unsound
        b.publish(1, predictions())
        await group.until(lambda: bool(group.arrived[a]))
        assert [x.round for x in group.arrived[a]] == [1]
        assert up(a, 1)
        assert not a.members[1].unsound

    run(scenario)


def test_replaced_predictions_are_counted_while_the_stream_lasts(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0))
        b, _ = await group.start(hello(1), peers=(where,))
        await group.until(lambda: up(a, 1) and up(b, 0))
        for round in range(5):  # faster than anything is sent
            a.publish(round, predictions())
        assert a.status().neighbours[0].replaced == 4

    run(scenario)


def test_any_round_above_the_last_is_taken_and_told_to_nobody_else(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0))
        b, _ = await group.start(hello(1), peers=(where,))
        await group.until(lambda: up(a, 1) and up(b, 0))
        a.publish(5, predictions())
        b.publish(2**62 - 1, predictions())
        await group.until(lambda: bool(group.arrived[a]))
        assert [x.round for x in group.arrived[a]] == [2**62 - 1]
        assert not a.refused
        c, _ = await group.start(hello(2), peers=(where,))
        await group.until(lambda: up(c, 0))
        assert c.members[0].round == 5, "a says what it has published itself"
        assert a.status().round == 5

    run(scenario)


def test_each_neighbour_is_sent_an_encoding_that_it_can_read(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0))
        a.publish(0, predictions())
        await group.start(hello(1), peers=(where,))
        await group.start(hello(2, encodings=(Encoding.FLOAT32,)), peers=(where,))
        for frames in (1, 2):
            sizes = {1: frames * 4 * 3 * 2, 2: frames * 4 * 3 * 4}
            await group.until(lambda sizes=sizes: all(up(a, i) and a.members[i].bytes_sent == sizes[i] for i in sizes))
            a.publish(frames, predictions())

    run(scenario)


# -- time limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("timing", "limit"), [(LAN, 5.0), (WAN, 15.0)])
def test_silent_neighbour_is_down_when_the_clock_says_so(run: Run, timing: Timing, limit: float) -> None:
    async def scenario(group: Group) -> None:
        now = 1000.0
        a, where = await group.start(hello(0), timing=timing, clock=lambda: now)
        stream = await group.transport().dial(where, timeout=2.0)
        await stream.send(hello(5))
        await stream.send(Heartbeat(step=1, steps=0, round=-1, done=False))
        await group.until(lambda: up(a, 5))
        now += limit - 0.01
        a._look(now)
        assert up(a, 5)
        now += 0.01
        a._look(now)
        assert not up(a, 5)
        await group.until(lambda: not a._streams.conversations)

    run(scenario)


def test_incumbent_that_does_not_answer_a_probe_is_replaced_by_the_newcomer(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0), timing=replace(LAN, probe_for=0.05))
        half_open = await group.transport().dial(where, timeout=2.0)
        await half_open.send(hello(5, instance=1))
        await group.until(lambda: 5 in a.members)
        newcomer = await group.transport().dial(where, timeout=2.0)
        await newcomer.send(hello(5, instance=2))
        await group.until(lambda: a.members[5].instance == 2)
        await group.until(lambda: len(a._streams.conversations) == 1)
        assert not a.refused

    run(scenario)


def test_caller_that_is_refused_does_not_wait_for_the_probe_on_behalf_of_another(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0), timing=replace(LAN, probe_for=DEADLINE))
        incumbent, second, stranger = [await group.transport().dial(where, timeout=2.0) for _ in range(3)]
        await incumbent.send(hello(5, instance=1))
        await group.until(lambda: 5 in a.members)
        await second.send(hello(5, instance=2))
        await group.until(lambda: a._streams._turns.taken(5))
        await stranger.send(hello(6, contract=replace(CONTRACT, temperature=2.0)))
        await group.until(lambda: a.refused["contract"] == 1)
        assert a._streams._turns.taken(5), "the probe goes on"

    run(scenario)


def test_probes_on_behalf_of_one_id_hold_up_nobody_else_and_queue_no_more_than_one(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0), timing=replace(LAN, probe_for=DEADLINE))
        mute, *again = [await group.transport().dial(where, timeout=2.0) for _ in range(5)]
        await mute.send(hello(5, instance=1))
        await group.until(lambda: 5 in a.members)
        for instance, stream in enumerate(again, 2):  # one is decided about, one waits, two are too many
            await stream.send(hello(5, instance=instance))
        await group.until(lambda: a.refused["busy"] == 2)
        honest, _ = await group.start(hello(7), peers=(where,))
        await group.until(lambda: up(a, 7) and up(honest, 0))
        assert a._streams._turns.taken(5), "the probe goes on"

    run(scenario)


@pytest.mark.parametrize("run", ["memory"], indirect=True)  # the others' windows hold thousands of such frames
def test_neighbour_that_speaks_and_reads_nothing_is_disconnected(run: Run) -> None:
    async def scenario(group: Group) -> None:
        now = 0.0
        a, where = await group.start(hello(0), clock=lambda: now)
        deaf = await group.transport().dial(where, timeout=2.0)
        await deaf.send(hello(5))
        for round in range(3 * IN_FLIGHT):  # each is to be acknowledged
            await deaf.send(encode(predictions(), round, Packing(Encoding.FLOAT16)))
        await group.until(lambda: len(group.arrived[a]) == 3 * IN_FLIGHT)
        assert up(a, 5)
        now = LAN.send_within - 1
        await deaf.send(Heartbeat(step=1, steps=0, round=0, done=False))
        await group.until(lambda: a.members[5].last_heard == now)
        a._look(now)
        assert up(a, 5)
        now = LAN.send_within
        a._look(now)
        assert not up(a, 5)

    run(scenario)


def test_stranger_that_says_nothing_is_disconnected(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0), timing=replace(LAN, hello_within=0.05))
        stranger = await group.transport().dial(where, timeout=2.0)
        assert isinstance(await stranger.receive(), Hello)
        with pytest.raises(StreamClosedError):
            await asyncio.wait_for(stranger.receive(), DEADLINE)
        await group.until(lambda: a._door.strangers == 0)

    run(scenario)


# -- questions ---------------------------------------------------------------------------------------------------------


def test_status_tells_how_a_peer_and_its_neighbours_are(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, address = await group.start(hello(0))
        b, _ = await group.start(hello(1), peers=(address,))
        await group.until(lambda: up(a, 1) and up(b, 0))
        a.tell(Heartbeat(step=7, steps=9, round=0, done=False, accuracy=0.5), State.TRAINING)
        a.publish(2, predictions())
        b.publish(3, predictions())
        await group.until(lambda: bool(group.arrived[a]))
        a.tell(Heartbeat(step=10, steps=20, round=0, done=False, accuracy=0.5), State.TRAINING)
        training = Training(loss_labels=0.5, lessons=3, failing=("metrics",), evaluation_images=180, first_step=0)
        a.note_training(training)
        a.note_disagreements({1: 0.25, 7: 0.5})  # of 7 it has heard before a restart; it is not there now
        status = await ask_status(group.transport(), address, timeout=DEADLINE)
        assert (status.id, status.state, status.step, status.steps, status.round) == (0, "training", 10, 20, 2)
        assert (status.accuracy, status.bytes_received, status.refused) == (0.5, 4 * 3 * 2, {})
        assert {name: getattr(status, name) for name in asdict(training)} == asdict(training)
        (neighbour,) = status.neighbours
        assert (neighbour.id, neighbour.up, neighbour.age, neighbour.bytes_received) == (1, True, 3, 4 * 3 * 2)
        assert neighbour.disagreement == 0.25
        (of_b,) = b.status().neighbours
        assert of_b.disagreement is None, "it has learned from nobody"

    run(scenario)


def test_status_fits_its_frame_though_a_neighbour_announces_a_long_address(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, address = await group.start(hello(0))
        b, _ = await group.start(hello(1, address="b" * 40 + ".b" * 180 + ":7000"), peers=(address,))
        await group.until(lambda: up(a, 1) and up(b, 0))
        (neighbour,) = (await ask_status(group.transport(), address, timeout=DEADLINE)).neighbours
        assert neighbour.address == ("b" * 40 + ".b" * 180)[: LONGEST_ADDRESS - 3] + "..."

    run(scenario)


def test_who_asks_without_pause_waits_for_its_turn(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, address = await group.start(hello(0))
        asker, began, answered = group.transport(), time.monotonic(), 0

        async def ask_on() -> None:
            nonlocal answered
            while answered < STATUSES + 10:
                await ask_status(asker, address, timeout=DEADLINE)
                answered += 1

        await asyncio.gather(*(ask_on() for _ in range(4)))
        assert time.monotonic() - began >= 9 * STATUS_EVERY, "the burst is for all that one host asks"
        assert not a.refused

    run(scenario)


def test_newcomer_fetches_the_public_file_whole_and_learns_the_contract(run: Run) -> None:
    async def scenario(group: Group) -> None:
        content = bytes(range(256)) * 300  # more than two pieces
        a, address = await group.start(hello(0), public=lambda: iter([content[:10], memoryview(content)[10:]]))
        got: list[bytes] = []
        answered = await fetch_public(group.transport(), address, got.append, timeout=DEADLINE, within=DEADLINE)
        assert b"".join(got) == content
        assert answered.contract == CONTRACT
        assert not a.members
        assert not a.refused

    run(scenario)


def test_nobody_answers_where_nobody_listens_or_the_peer_has_gone(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, address = await group.start(hello(0))
        await a.stop(Goodbye(parting=Parting.LEAVING))
        with pytest.raises(OSError, match="cannot reach"):
            await ask_status(group.transport(), address, timeout=2.0)

    run(scenario)


def test_peer_of_another_major_version_is_not_asked(run: Run) -> None:
    async def scenario(group: Group) -> None:
        _, address = await group.start(hello(0, major=9))
        with pytest.raises(OSError, match="speaks version 9 of the protocol"):
            await ask_status(group.transport(), address, timeout=DEADLINE)

    run(scenario)


def test_question_on_a_stream_that_this_peer_dialled_is_refused(run: Run) -> None:
    async def scenario(group: Group) -> None:
        async def asks_back(stream: Stream) -> None:
            await stream.send(Ask(what=Asked.STATUS))
            while not isinstance(await stream.receive(), Goodbye):
                pass

        address = await group.transport().listen("127.0.0.1:0", asks_back)
        a, _ = await group.start(hello(0), peers=(address,))
        await group.until(lambda: a.refused["hello"] >= 1)

    run(scenario)


def test_who_is_not_the_peer_that_was_dialled_is_refused(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0))
        b, _ = await group.start(hello(1), peers=(f"7@{where}",))
        await group.until(lambda: b.refused["identity"] >= 1)
        assert not up(a, 1)
        assert not up(b, 0)
        c, _ = await group.start(hello(2), peers=(f"0@{where}",))
        await group.until(lambda: up(a, 2) and up(c, 0))
        assert a.refused["identity"] == 0

    run(scenario)


def test_who_has_too_much_refused_is_cut_off_and_the_others_are_not(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0))
        good, _ = await group.start(hello(1), peers=(where,))
        stream = await group.transport().dial(where, timeout=2.0)
        await stream.send(hello(2))
        bad = replace(encode(predictions(), 1, Packing(Encoding.FLOAT16)), payload=b"")

        async def send() -> None:
            for _ in range(REFUSALS + 1):
                await stream.send(bad)

        sending = asyncio.ensure_future(send())
        frames: list[object] = []
        while not frames or not isinstance(frames[-1], Goodbye):
            frames.append(await asyncio.wait_for(stream.receive(), DEADLINE))
        assert frames[-1].parting is Parting.REFUSED
        await asyncio.wait([sending])
        assert a.refused == {"length": REFUSALS + 1}
        await group.until(lambda: up(a, 1) and not up(a, 2))
        again = await group.transport().dial(where, timeout=2.0)
        await again.send(hello(2))
        await group.until(lambda: a.refused["cut-off"] == 1)
        good.publish(1, predictions())
        await group.until(lambda: bool(group.arrived[a]))

    run(scenario)


def test_silent_strangers_that_fill_the_door_keep_nobody_out_and_lose_their_own_places(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0), timing=replace(LAN, hello_within=DEADLINE))
        stranger = group.transport()
        waiting = [await stranger.dial(where, timeout=DEADLINE) for _ in range(MAX_STRANGERS)]
        await group.until(lambda: a._door.strangers == MAX_STRANGERS)
        b, _ = await group.start(hello(1), peers=(where,))
        await group.until(lambda: up(a, 1) and up(b, 0))
        assert a.refused["busy"] == 1
        answer = await ask_status(group.transport(), where, timeout=DEADLINE)
        assert answer.id == 0
        for stream in waiting:
            await stream.close()

    run(scenario)


def test_refused_callers_hold_no_place_at_the_door(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0), timing=replace(LAN, refusal_delay=DEADLINE))
        for _ in range(3):
            stream = await group.transport().dial(where, timeout=2.0)
            await stream.send(hello(5, contract=replace(CONTRACT, temperature=2.0)))
        await group.until(lambda: a.refused["contract"] == 3)
        await group.until(lambda: a._door.strangers == 0)

    run(scenario)


def test_far_rounds_in_hello_and_heartbeat_are_no_refusal_and_end_with_their_stream(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0))
        liar = await group.transport().dial(where, timeout=2.0)
        await liar.send(hello(5, newest_round=2**61))
        await liar.send(Heartbeat(step=1, steps=0, round=2**62 - 1, done=False))
        await group.until(lambda: up(a, 5) and a.members[5].round == 2**62 - 1)
        assert (a.published, a.status().round) == (-1, -1)
        assert not a.refused
        await liar.close()
        await group.until(lambda: not up(a, 5))
        again = await group.transport().dial(where, timeout=2.0)
        await again.send(hello(5, newest_round=7))
        await again.send(Heartbeat(step=1, steps=0, round=7, done=False))
        await group.until(lambda: up(a, 5))
        assert a.members[5].round == 7

    run(scenario)


def test_a_stream_that_another_takes_the_place_of_ends_though_nothing_is_acknowledged_on_it(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0))
        for start in range(3):
            stream = await group.transport().dial(where, timeout=2.0)
            await stream.send(hello(5))
            await group.until(lambda: 5 in a.members)
            for round in range(3):
                a.publish(10 * start + round, predictions())
                await asyncio.sleep(0)
        await group.until(lambda: len(a._streams.conversations) <= 1)

    run(scenario)


def test_acknowledgements_of_nothing_are_refused(run: Run) -> None:
    async def scenario(group: Group) -> None:
        a, where = await group.start(hello(0))
        stream = await group.transport().dial(where, timeout=2.0)
        await stream.send(hello(5))
        await stream.send(Ack(round=1))
        await group.until(lambda: a.refused["ack"] == 1)
        assert not a.members[5].unsound, "no predictions were lost"

    run(scenario)
