"""A node of QuinkGL: ``quinkgl_node.py TASK.json ID``. It gossips its weights after each round of steps."""

import asyncio
import logging
import sys
from pathlib import Path

import quinkgl.network.gossip_community as transfers
from quinkgl import FedAvg, GossipNode, PyTorchModel, RandomTopology
from quinkgl.models.base import TrainingResult
from race.work import Task, Worker

# Of its own accord QuinkGL pauses 0.05 s after each piece of 768 bytes, and gives up after 900 s: at most 13.8 MB, and
# ResNet18 has 45 MB of weights. It has no setting for this.
transfers.CHUNK_SEND_INTERVAL = 0.001
INTERVAL = 10.0  # seconds that a round waits at most for the weights of others
LINGER = 30.0  # seconds for the others after the end


class OwnModel(PyTorchModel):
    """Trains with the loop that is the same for all, in a thread, so that the network goes on meanwhile."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker.model)
        self.worker, self.round, self.ended = worker, 0, asyncio.Event()

    async def train(self, data=None, config=None) -> TrainingResult:
        task, round = self.worker.task, self.round
        accuracy, loss = 0.0, 0.0
        if 0 < round <= task.rounds:  # the weights are the averaged ones now
            accuracy = await asyncio.to_thread(self.worker.evaluate, min(task.steps, round * task.steps_a_round))
        if round < task.rounds:
            loss = await asyncio.to_thread(self.worker.train, task.steps_of(round))
        else:
            self.ended.set()
        self.round += 1
        return TrainingResult(1, loss, accuracy, samples_trained=len(self.worker.private.labels))

    def get_data_schema_hash(self) -> str:
        return "race"


async def main() -> None:
    logging.basicConfig(level=logging.INFO)
    task, id = Task.load(Path(sys.argv[1])), int(sys.argv[2])
    model = OwnModel(Worker(task, id))
    node = GossipNode(
        node_id=f"node-{id}",
        domain="race",
        model=model,
        port=7000,
        topology=RandomTopology(),
        aggregation=FedAvg(),
        gossip_interval=INTERVAL,
        min_peers_before_aggregate=task.nodes - 1,
        enable_fallback=False,
        quiet=True,
    )
    await node.start()
    while len(node.gl_node.known_peers) < task.nodes - 1:  # its bootstrap nodes are in the internet; these are not
        for address in (address for other, address in enumerate(task.addresses) if other != id):
            host, _, port = address.partition(":")
            node.community.walk_to((host, int(port)))
        await asyncio.sleep(1)
        node._sync_known_peers()
    print("connected", flush=True)
    running = asyncio.create_task(node.run_continuous(data_provider=lambda: True))
    ending = asyncio.create_task(model.ended.wait())
    await asyncio.wait([running, ending], return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(LINGER)


asyncio.run(main())
