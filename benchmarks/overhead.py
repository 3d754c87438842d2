"""Measures what the network costs a peer: steps/s with two neighbours against the same steps without, and bytes.

    python benchmarks/overhead.py [--blocks N] [--steps N]

The neighbours run in another process that answers each round with prepared predictions, so they need hardly any
processor time. Blocks of steps with and without the network take turns; the ratio is the median over pairs of blocks.
Then a dashboard in another process asks the peer for its status once a second, in every other of longer blocks. This
gives steps/s with and without the dashboard, and the processor time of an answer.
Targets: both ratios >= 0.97; bytes for each broadcast and neighbour <= 1.1 x rows x classes x 2.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from edgekd.config import Config, from_mapping
from edgekd.contract import make_contract
from edgekd.data.datasets import load_peer_data
from edgekd.learning.learner import Learner
from edgekd.protocol.codec import encode
from edgekd.protocol.encodings import Packing
from edgekd.protocol.frames import WITHOUT_PREDICTIONS
from edgekd.protocol.messages import Contract, Encoding, Goodbye, Hello, Lesson, Parting
from peer.dashboard.watcher import Watcher
from peer.network.hub import Arrival, Hub
from peer.network.thread import Network
from peer.node.node import Node
from peer.transports.grpc.transport import GrpcTransport
from peer.wire.protobuf import to_wire

LIMIT = 1 << 20
FRAMING = 5 + 9  # bytes that gRPC and HTTP/2 add to each message


def hello(id: int, contract: Contract) -> Hello:
    return Hello(
        major=1,
        minor=0,
        id=id,
        instance=id + 1,
        contract=contract,
        encodings=tuple(Encoding),
        newest_round=-1,
        address="",
    )


def predictions(contract: Contract) -> torch.Tensor:
    return torch.randn(contract.heads, contract.public_batch, contract.classes).log_softmax(-1)


def neighbour(id: int, contract: Contract, ready: torch.Tensor) -> Hub:
    def answer(arrival: Arrival) -> None:
        hub.publish(arrival.round, ready)

    hub = Hub(
        GrpcTransport(LIMIT),
        hello(id, contract),
        peers=(),
        lockstep=False,
        packing=Packing(Encoding.FLOAT16),
        deliver=answer,
    )
    return hub


def replay(contract: Contract, pipe: Connection) -> None:
    """In a child process: run two neighbours that answer every round.

    Their addresses are sent into `pipe`. The next message from it ends them.
    """

    async def main() -> None:
        ready = predictions(contract)
        hubs = [neighbour(id, contract, ready) for id in (1, 2)]
        pipe.send([await hub.start("127.0.0.1:0") for hub in hubs])
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        for hub in hubs:
            await hub.stop(Goodbye(parting=Parting.LEAVING))

    torch.set_num_threads(1)
    asyncio.run(main())


def with_network(node: Node, steps: int) -> float:
    began = time.perf_counter()
    for _ in range(steps):
        node._step()
    return time.perf_counter() - began


def without_network(learner: Learner, lesson: Lesson, steps: int) -> float:
    began = time.perf_counter()
    for _ in range(steps):
        learner.teach(learner.step)
        learner.study()
        learner.learn(Lesson(max(0, learner.step - 1), lesson.teachers))
    return time.perf_counter() - began


def watch(address: str, pipe: Connection) -> None:
    """In a child process: ask a peer for its status as `edgekd dashboard` does, between two messages from `pipe`.

    Then the number of answers that were kept is sent into `pipe`. A false message ends the process.
    """

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        transport = GrpcTransport(WITHOUT_PREDICTIONS)
        pipe.send("ready")
        while await loop.run_in_executor(None, pipe.recv):
            watcher = Watcher(transport, [address], with_keys=False)
            watching = loop.create_task(watcher.run())
            await loop.run_in_executor(None, pipe.recv)
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):  # an error of the watcher ends this process
                await watching
            pipe.send(sum(len(peer.answers) for peer in watcher.group.peers.values()))

    asyncio.run(ask())


def with_dashboard(node: Node, pipe: Connection, seconds: float) -> tuple[float, float]:
    """The steps/s of a training peer, and the processor seconds a second of a resting one, while the dashboard asks.

    Raises:
        RuntimeError: the dashboard has got no answer, or has failed.
    """
    pipe.send(True)
    result = steps_a_second(node, seconds), resting(seconds)
    pipe.send(True)
    try:
        answers = pipe.recv()
    except EOFError:
        raise RuntimeError("the dashboard has ended by an error, see above") from None
    if not answers:
        raise RuntimeError("the dashboard has had no answer: nothing was measured")
    return result


def steps_a_second(node: Node, seconds: float) -> float:
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        node._step()
        steps += 1
    return steps / (time.perf_counter() - began)


def resting(seconds: float) -> float:
    """Processor seconds a second of this process while its training thread sleeps."""
    began, used = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    return (time.process_time() - used) / (time.perf_counter() - began)


def dashboard(node: Node, address: str, pairs: int, seconds: float) -> None:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=watch, args=(address, theirs), daemon=True)
    process.start()
    theirs.close()  # so that `recv` fails here if that process ends
    ours.recv()  # the process takes seconds to begin
    with_dashboard(node, ours, 2.0)
    ratios, costs = [], []
    for _ in range(pairs):
        asked, busy = with_dashboard(node, ours, seconds)
        alone, idle = steps_a_second(node, seconds), resting(seconds)
        ratios.append(asked / alone)
        costs.append(busy - idle)
    ours.send(False)
    process.join()
    low, high = min(ratios), max(ratios)
    print(f"steps/s with a dashboard / without: median {statistics.median(ratios):.3f} (from {low:.3f} to {high:.3f})")
    print(f"processor time of an answer: median {1000 * statistics.median(costs):.1f} ms, one a second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=40, help="at least 1")
    parser.add_argument("--steps", type=int, default=4, help="in a block")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a block with or without a dashboard")
    arguments = parser.parse_args()
    if arguments.blocks < 1:
        parser.error("--blocks has to be 1 or more")
    torch.set_num_threads(1)
    config: Config = from_mapping({"train": {"steps": 0, "eval_every": 0, "checkpoint_every": 0}})
    data = load_peer_data(config.data, 0, seed=0)
    contract = make_contract(data.public, config)
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    neighbours = spawn.Process(target=replay, args=(contract, theirs), daemon=True)
    neighbours.start()
    network = Network(
        lambda: GrpcTransport(LIMIT),
        hello(0, contract),
        listen="127.0.0.1:0",
        peers=tuple(ours.recv()),
        lockstep=False,
        packing=Packing(Encoding.FLOAT16),
    )
    network.start()
    while sum(m.up for m in network.look()[0]) < 2:
        network.wait_for_news(30.0, lambda: False)
    bare = Learner(data, config, 0)
    lesson = Lesson(0, {1: predictions(contract).exp(), 2: predictions(contract).exp()})
    with tempfile.TemporaryDirectory() as folder:
        node = Node(Learner(data, config, 0), data, network, config, Path(folder))
        with_network(node, 5)
        without_network(bare, lesson, 5)
        ratios = []
        for block in range(arguments.blocks):
            if block % 2:  # alternate which comes first
                slow, fast = with_network(node, arguments.steps), without_network(bare, lesson, arguments.steps)
            else:
                fast, slow = without_network(bare, lesson, arguments.steps), with_network(node, arguments.steps)
            ratios.append(fast / slow)
        dashboard(node, network.address, max(1, arguments.blocks // 4), arguments.seconds)
        reached = node.summary()
    network.stop(Goodbye(parting=Parting.LEAVING))
    ours.send("end")
    neighbours.join()
    low, high = min(ratios), max(ratios)
    print(f"{reached.steps} steps, {reached.lessons} lessons, {reached.fresh_lessons} fresh, {reached.waits} waits")
    print(f"steps/s with the network / without: median {statistics.median(ratios):.3f} (from {low:.3f} to {high:.3f})")
    for rows, classes in ((32, 10), (256, 397)):
        frame = encode(torch.randn(1, rows, classes).log_softmax(-1), 10**6, Packing(Encoding.FLOAT16))
        sent = len(to_wire(frame).SerializeToString()) + FRAMING
        print(f"{rows} x {classes}: {sent} bytes a broadcast, {sent / (rows * classes * 2):.3f} x rows x classes x 2")


if __name__ == "__main__":
    main()
