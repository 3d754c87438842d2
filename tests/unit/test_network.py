"""The network thread, as the training thread sees it."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hellos import hello

from edgekd.errors import DivergedError
from edgekd.protocol.board import ROUNDS
from edgekd.protocol.encodings import Packing
from edgekd.protocol.messages import Encoding, Frame, Goodbye, Parting
from peer.network.thread import Network
from peer.transports.base import Accept, Stream
from peer.transports.memory import MemoryNetwork, MemoryTransport

LOG_PROBS = torch.full((1, 4, 3), 1 / 3).log()


def start(
    memory: MemoryNetwork, id: int, peers: tuple[str, ...] = (), kind: type[MemoryTransport] = MemoryTransport
) -> Network:
    made = Network(
        lambda: kind(memory),
        hello(id),
        listen="127.0.0.1:0",
        peers=peers,
        lockstep=False,
        packing=Packing(Encoding.FLOAT16),
    )
    made.start()
    return made


def wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20.0
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_up(network: Network, count: int = 1) -> Callable[[], bool]:
    return lambda: sum(member.up for member in network.members) == count


def has_published(network: Network, round: int) -> Callable[[], bool]:
    return lambda: any(member.round == round for member in network.members)


def test_what_cannot_be_copied_off_the_device_is_raised_to_the_training_thread_and_is_not_sent() -> None:
    memory = MemoryNetwork()
    first = start(memory, 0)
    second = start(memory, 1, (first.address,))
    try:
        for network in (first, second):
            wait(is_up(network))
        first.publish(0, LOG_PROBS, lambda: None)
        wait(has_published(second, 0))
        assert [arrival.round for arrival in second.look()[1]] == [0]

        def fails() -> None:
            raise DivergedError("NaN")

        first.publish(1, LOG_PROBS, fails)
        first.publish(1, LOG_PROBS, lambda: None)  # a later copy does not hide the error
        with pytest.raises(DivergedError, match="NaN"):
            wait(lambda: bool(first.look()[1]))
        first.publish(2, LOG_PROBS, lambda: None)
        wait(has_published(second, 2))
        assert [arrival.round for arrival in second.look()[1]].count(1) <= 1, "what failed was not sent"
    finally:
        for network in (first, second):
            network.stop(Goodbye(parting=Parting.LEAVING))


class Faulty(MemoryTransport):
    """A transport with bugs: one address cannot be dialled, and no frame of a stream that was dialled to it be read."""

    async def dial(self, address: str, *, timeout: float) -> Stream:
        if address == "nowhere:1":
            raise LookupError("no such thing")
        return await super().dial(address, timeout=timeout)

    async def listen(self, address: str, accept: Accept) -> str:
        async def receive() -> Frame:
            raise LookupError("no such frame")

        async def accept_faulty(stream: Any) -> None:
            stream.receive = receive
            await accept(stream)

        return await super().listen(address, accept_faulty)


def test_bug_in_a_dial_or_a_stream_costs_that_alone_and_ends_no_training(caplog: pytest.LogCaptureFixture) -> None:
    memory = MemoryNetwork()
    honest = start(memory, 1)
    faulty = start(memory, 0, ("nowhere:1", honest.address), Faulty)
    caller = start(memory, 2, (faulty.address,))
    try:
        wait(lambda: faulty.refused["bug"] > 0)
        wait(is_up(faulty))
        honest.publish(0, LOG_PROBS)
        wait(has_published(faulty, 0))
        wait(lambda: [arrival.round for arrival in faulty.look()[1]] == [0])
        assert any("a bug of edgekd (LookupError, test_network.py line " in message for message in caplog.messages)
    finally:
        for network in (faulty, honest, caller):
            network.stop(Goodbye(parting=Parting.LEAVING))


def test_fast_neighbour_takes_the_place_of_nothing_that_another_has_sent() -> None:
    memory = MemoryNetwork()
    slow = start(memory, 0)
    others = [start(memory, id, (slow.address,)) for id in (1, 2)]
    try:
        wait(is_up(slow, 2))
        for network in others:
            wait(is_up(network))
        others[0].publish(0, LOG_PROBS)
        wait(has_published(slow, 0))
        for round in range(1, 3 * ROUNDS):
            others[1].publish(round, LOG_PROBS)
            wait(has_published(slow, round))
        others[0].publish(3 * ROUNDS, LOG_PROBS)
        wait(has_published(slow, 3 * ROUNDS))
        arrived = [(arrival.peer, arrival.round) for arrival in slow.look()[1]]
        between = ((2, round) for round in range(2 * ROUNDS, 3 * ROUNDS))
        assert arrived == [(1, 0), *between, (1, 3 * ROUNDS)], "in the order in which they came"
    finally:
        for network in (slow, *others):
            network.stop(Goodbye(parting=Parting.LEAVING))


def test_news_that_came_before_the_wait_ends_it_at_once_and_a_look_takes_it() -> None:
    memory = MemoryNetwork()
    first = start(memory, 0)
    second = start(memory, 1, (first.address,))
    try:
        wait(is_up(second))
        wait(is_up(first))
        first.publish(0, LOG_PROBS)
        while not second.look()[1]:
            began = time.monotonic()
            second.wait_for_news(20.0, lambda: False)
            assert time.monotonic() - began < 20.0, "what arrives is news"
        stopped: list[bool] = []
        second.look()
        second.wait_for_news(20.0, lambda: bool(stopped) or stopped.append(True) or False)
        assert stopped, "it asks whether to stop"
    finally:
        for network in (first, second):
            network.stop(Goodbye(parting=Parting.LEAVING))
