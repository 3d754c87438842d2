"""A peer without a learner: it has all of edgekd's network code, and sends prepared predictions at any rate.

    python loud.py --id 1 --listen 10.77.0.2:7000 --peers 10.77.0.1:7000 --every 0.02 --rows 256 --classes 397

Without --group-rounds each round that it publishes is the time in milliseconds, so a receiver on the same machine knows
how old predictions are when they arrive. Each second it prints a JSON line about what has arrived since the last one.
"""

import argparse
import asyncio
import json
import random
import signal
import time
from pathlib import Path

import torch

from edgekd.protocol.encodings import Packing
from edgekd.protocol.messages import MAJOR, MINOR, Contract, Encoding, Goodbye, Hello, Parting
from edgekd.protocol.schedule import next_round
from peer.network.hub import Arrival, Hub
from peer.transports.grpc.transport import GrpcTransport

LIMIT = 1 << 20  # bytes of the longest frame


def now_ms() -> int:
    return int(time.monotonic() * 1000)


def resident() -> int:
    """The anonymous memory of this process (not backed by a file), in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise KeyError("RssAnon")


async def contract_of(address: str) -> Contract:
    """The contract of the peer at `address`, from its Hello."""
    transport = GrpcTransport(LIMIT)
    stream = await transport.dial(address, timeout=5.0)
    hello = await stream.receive()
    await transport.close()
    assert isinstance(hello, Hello)
    return hello.contract


class Loud:
    def __init__(self, given: argparse.Namespace, contract: Contract) -> None:
        self.given, self.contract = given, contract
        self.ages: list[int] = []
        self.arrived = self.starts = 0
        rows = torch.randn(contract.heads, contract.public_batch, contract.classes)
        self.predictions = rows.log_softmax(-1)

    def deliver(self, arrival: Arrival) -> None:
        self.arrived += 1
        if not self.given.group_rounds:
            self.ages.append(now_ms() - arrival.round)

    async def start(self) -> None:
        self.starts += 1
        hello = Hello(
            major=MAJOR,
            minor=MINOR,
            id=self.given.id,
            instance=random.SystemRandom().randrange(1, 2**62),
            contract=self.contract,
            encodings=tuple(Encoding),
            newest_round=-1,
            address="",
        )
        packing, peers = (
            Packing.parse(self.given.encoding),
            tuple(self.given.peers.split(",")) if self.given.peers else (),
        )
        transport = GrpcTransport(LIMIT)
        self.hub = Hub(transport, hello, peers=peers, lockstep=False, packing=packing, deliver=self.deliver)
        await self.hub.start(self.given.listen)

    async def publish(self) -> None:
        while True:
            group = self.hub.members.values()
            round = next_round(self.hub.published, group) if self.given.group_rounds else now_ms()
            self.hub.publish(round, self.predictions)
            await asyncio.sleep(self.given.every)

    async def tell(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            assert self.hub.failure is None, self.hub.failure
            members = self.hub.members.values()
            ages, self.ages = self.ages, []
            line = {
                "at": time.monotonic(),
                "arrived": self.arrived,
                "oldest": max(ages, default=None),  # ms, of the predictions that arrived in this second
                "up": sum(member.up for member in members),
                "starts": self.starts,
                "memory": resident(),
            }
            print(json.dumps(line), flush=True)

    async def run(self) -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await self.start()
        tasks = [asyncio.ensure_future(work) for work in (self.publish(), self.tell())]
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), self.given.restart_every or None)
            except asyncio.TimeoutError:
                await self.hub.stop(Goodbye(parting=Parting.LEAVING))
                await self.start()  # a new instance
            for task in tasks:
                assert not task.done() or task.result()
        for task in tasks:
            task.cancel()
        await self.hub.stop(Goodbye(parting=Parting.LEAVING))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--id", type=int, required=True)
    parser.add_argument("--listen")
    parser.add_argument("--peers", default="")
    parser.add_argument("--every", type=float, default=0.02, help="seconds between two broadcasts")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--encoding", default="float16")
    parser.add_argument("--contract-of", help="HOST:PORT of the peer whose group to join")
    parser.add_argument("--group-rounds", action="store_true", help="count rounds as the group does")
    parser.add_argument("--restart-every", type=float, default=0.0, help="seconds; 0: never")
    given = parser.parse_args()
    torch.set_num_threads(1)
    contract = Contract(
        public_sha256="ab" * 32,
        public_batch=given.rows,
        classes=given.classes,
        heads=1,
        temperature=1.0,
        augment="none",
        mode="async",
    )
    if given.contract_of:
        contract = await contract_of(given.contract_of)
    await Loud(given, contract).run()


if __name__ == "__main__":
    asyncio.run(main())
