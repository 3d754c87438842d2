"""Measures the processor time of a peer's network side for each broadcast and neighbour, with gRPC and with ZeroMQ.

    python benchmarks/transports.py [--rounds N] [--repeats N]

A hub, as in a peer's network thread, has 3, 8 and 32 neighbours, and dials half of them. In each round it publishes
predictions, and each neighbour answers with its own. So for each neighbour a broadcast means one frame of predictions
and one acknowledgement each way, encoded and checked. The neighbours run in another process. The figure is the
processor time of all threads of the hub's process. There is a pause between rounds, as with training steps. The
transports take turns; a ratio is of one repeat, and the median over the repeats is printed.

The share is that of a training step of ResNet18 with 32 private images and a lesson on 32 public images (one thread).
"""

import argparse
import asyncio
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection

import torch
from overhead import hello, predictions

from edgekd.config import Config, from_mapping
from edgekd.contract import make_contract
from edgekd.data.datasets import load_peer_data
from edgekd.learning.learner import Learner
from edgekd.protocol.encodings import Packing
from edgekd.protocol.messages import Contract, Encoding, Goodbye, Lesson, Parting
from peer.network.hub import Arrival, Hub
from peer.transports.by_name import make_transport

LIMIT = 1 << 20  # bytes
PAUSE = 0.02  # seconds between two rounds
WARM = 10  # rounds before the measurement
NEIGHBOURS, TRANSPORTS = (3, 8, 32), ("grpc", "zmq")
LEAVING = Goodbye(parting=Parting.LEAVING)


def replay(contract: Contract, pipe: Connection) -> None:
    """In a child process: run groups of neighbours that answer every round, one group for each message from `pipe`."""
    ready = predictions(contract)

    def neighbour(name: str, id: int, peers: tuple[str, ...]) -> Hub:
        def answer(arrival: Arrival) -> None:
            hub.publish(arrival.round, ready)

        hub = Hub(
            make_transport(name, LIMIT),
            hello(id, contract),
            peers=peers,
            lockstep=False,
            packing=Packing(Encoding.FLOAT16),
            deliver=answer,
        )
        return hub

    async def group(name: str, count: int, address: str) -> None:
        hubs = [neighbour(name, id, (address,) if id % 2 else ()) for id in range(1, count + 1)]
        bound = [await hub.start("127.0.0.1:0") for hub in hubs]
        pipe.send(bound[1::2])  # those that do not dial
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        await asyncio.gather(*(hub.stop(LEAVING) for hub in hubs))
        pipe.send("gone")

    torch.set_num_threads(1)
    while (told := pipe.recv()) is not None:
        asyncio.run(group(*told))


async def cost(name: str, count: int, rounds: int, contract: Contract, pipe: Connection) -> float:
    """Seconds of processor time for each broadcast and neighbour.

    Args:
        name: the transport's.
        count: neighbours.
        rounds: broadcasts.
        contract: of the group.
        pipe: to `replay`.
    """
    arrived, news = 0, asyncio.Event()

    def deliver(arrival: Arrival) -> None:
        nonlocal arrived
        arrived += 1
        news.set()

    transport = make_transport(name, LIMIT)
    hub = Hub(
        transport, hello(0, contract), peers=(), lockstep=False, packing=Packing(Encoding.FLOAT16), deliver=deliver
    )
    pipe.send((name, count, await hub.start("127.0.0.1:0")))
    for id, address in enumerate(await asyncio.to_thread(pipe.recv)):
        hub.dial_also(address, 2 * (id + 1))
    while sum(member.up for member in hub.members.values()) < count:
        await asyncio.sleep(0.05)
    ready, began = predictions(contract), 0.0
    for round in range(WARM + rounds):
        if round == WARM:
            began = time.process_time()
        arrived = 0
        hub.publish(round, ready)
        while arrived < count:
            news.clear()
            await news.wait()
        await asyncio.sleep(PAUSE)
    spent = time.process_time() - began
    pipe.send("end")
    await hub.stop(LEAVING)
    await asyncio.to_thread(pipe.recv)
    return spent / rounds / count


def step_seconds(contract: Contract, learner: Learner, steps: int = 12) -> float:
    """The median processor time of a training step with a lesson, in seconds."""
    lesson, spent = Lesson(0, {1: predictions(contract).exp(), 2: predictions(contract).exp()}), []
    for _ in range(steps):
        began = time.process_time()
        learner.teach(learner.step)
        learner.study()
        learner.learn(Lesson(max(0, learner.step - 1), lesson.teachers))
        spent.append(time.process_time() - began)
    return statistics.median(spent[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=120)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config: Config = from_mapping({"train": {"steps": 0, "eval_every": 0, "checkpoint_every": 0}})
    data = load_peer_data(config.data, 0, seed=0)
    contract = make_contract(data.public, config)
    step = step_seconds(contract, Learner(data, config, 0))
    print(f"a training step: {1000 * step:.0f} ms of one core")
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    neighbours = multiprocessing.get_context("spawn").Process(target=replay, args=(contract, theirs), daemon=True)
    neighbours.start()
    for count in NEIGHBOURS:
        found: dict[str, list[float]] = {name: [] for name in TRANSPORTS}
        for repeat in range(arguments.repeats):
            for name in TRANSPORTS[:: -1 if repeat % 2 else 1]:
                found[name].append(asyncio.run(cost(name, count, arguments.rounds, contract, ours)))
        ratios = [zmq / grpc for zmq, grpc in zip(found["zmq"], found["grpc"], strict=True)]
        for name in TRANSPORTS:
            each = statistics.median(found[name])
            share = each * count / step
            print(f"{count} neighbours, {name}: {1e6 * each:.0f} us each, {100 * share:.2f} % of a step")
        low, high = min(ratios), max(ratios)
        print(f"{count} neighbours, zmq / grpc: median {statistics.median(ratios):.2f} (from {low:.2f} to {high:.2f})")
    ours.send(None)
    neighbours.join()


if __name__ == "__main__":
    main()
