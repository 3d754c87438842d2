"""The network thread, as the training thread sees it."""

from collections.abc import Callable

import pytest
import torch
from hellos import hello

from edgekd.errors import DivergedError
from edgekd.protocol.board import ROUNDS
from edgekd.protocol.encodings import Packing
from edgekd.protocol.messages import Encoding, Goodbye, Parting
from peer.network.thread import Network
from peer.transports.memory import MemoryNetwork, MemoryTransport

LOG_PROBS = torch.full((1, 4, 3), 1 / 3).log()


def start(memory: MemoryNetwork, id: int, peers: tuple[str, ...] = ()) -> Network:
    made = Network(
        lambda: MemoryTransport(memory),
        hello(id),
        listen="127.0.0.1:0",
        peers=peers,
        lockstep=False,
        packing=Packing(Encoding.FLOAT16),
    )
    made.start()
    return made


def wait(network: Network, holds: Callable[[], bool]) -> None:
    assert network.wait_until(holds, timeout=20.0, stop=lambda: False)


def test_what_cannot_be_copied_off_the_device_is_raised_to_the_training_thread_and_is_not_sent() -> None:
    memory = MemoryNetwork()
    first = start(memory, 0)
    second = start(memory, 1, (first.address,))
    try:
        for network in (first, second):
            wait(network, lambda network=network: any(member.up for member in network.members))  # type: ignore[misc]
        first.publish(0, LOG_PROBS, lambda: None)
        wait(second, lambda: second.rounds.heard == 0)
        assert [arrival.round for arrival in second.collect()] == [0]

        def fails() -> None:
            raise DivergedError("NaN")

        first.publish(1, LOG_PROBS, fails)
        with pytest.raises(DivergedError, match="NaN"):
            first.wait_until(lambda: bool(first.collect()), timeout=20.0, stop=lambda: False)
        first.publish(2, LOG_PROBS, lambda: None)
        wait(second, lambda: second.rounds.heard == 2)
        assert [arrival.round for arrival in second.collect()] == [2], "what failed was not sent"
    finally:
        for network in (first, second):
            network.stop(Goodbye(parting=Parting.LEAVING))


def test_fast_neighbour_takes_the_place_of_nothing_that_another_has_sent() -> None:
    memory = MemoryNetwork()
    slow = start(memory, 0)
    others = [start(memory, id, (slow.address,)) for id in (1, 2)]
    try:
        wait(slow, lambda: sum(member.up for member in slow.members) == 2)
        for network in others:
            wait(network, lambda network=network: any(member.up for member in network.members))  # type: ignore[misc]
        others[0].publish(0, LOG_PROBS)
        wait(slow, lambda: slow.rounds.heard == 0)
        for round in range(1, 3 * ROUNDS):
            others[1].publish(round, LOG_PROBS)
            wait(slow, lambda round=round: slow.rounds.heard == round)  # type: ignore[misc]
        others[0].publish(3 * ROUNDS, LOG_PROBS)
        wait(slow, lambda: slow.rounds.heard == 3 * ROUNDS)
        arrived = [(arrival.peer, arrival.round) for arrival in slow.collect()]
        between = ((2, round) for round in range(2 * ROUNDS, 3 * ROUNDS))
        assert arrived == [(1, 0), *between, (1, 3 * ROUNDS)], "in the order in which they came"
    finally:
        for network in (slow, *others):
            network.stop(Goodbye(parting=Parting.LEAVING))
