"""A node of p2pfl: ``p2pfl_node.py TASK.json ID``. Node 0 starts the learning once all are connected."""

import sys
import time
from pathlib import Path

from p2pfl.settings import Settings

Settings.general.DISABLE_RAY = True  # before the imports below, which would start a Ray cluster
Settings.training.AGGREGATION_TIMEOUT = 60  # as its examples have it, but after an import that has taken 300 s
Settings.ssl.USE_SSL = False  # the other systems run without encryption, too

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from p2pfl.learning.dataset.p2pfl_dataset import P2PFLDataset  # noqa: E402
from p2pfl.learning.frameworks.learner import Learner  # noqa: E402
from p2pfl.learning.frameworks.p2pfl_model import P2PFLModel  # noqa: E402
from p2pfl.node import Node  # noqa: E402
from p2pfl.utils.utils import set_standalone_settings  # noqa: E402
from race.work import Task, Worker  # noqa: E402

LINGER = 30.0  # seconds for the others after the end


class Model(P2PFLModel):
    """As p2pfl's LightningModel, which needs Lightning: the arrays are the values of the state_dict."""

    def get_parameters(self) -> list:
        return [tensor.numpy(force=True) for tensor in self.model.state_dict().values()]

    def set_parameters(self, params: list | bytes) -> None:
        if isinstance(params, bytes):
            params, more = self.decode_parameters(params)
            self.additional_info.update(more)
        tensors = map(torch.tensor, params)
        self.model.load_state_dict(dict(zip(self.model.state_dict(), tensors, strict=True)))

    def get_framework(self) -> str:
        return "pytorch"


class OwnLearner(Learner):
    """Trains with the loop that is the same for all, instead of Lightning's trainer."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self.worker, self.round = worker, 0

    def fit(self) -> Model:
        self._take()
        self.worker.train(self.worker.task.steps_of(self.round))
        self.round += 1
        model = self.get_model()
        model.set_parameters([tensor.numpy() for tensor in self.worker.weights().values()])
        model.set_contribution([self.addr], len(self.worker.private.labels))
        return model

    def evaluate(self) -> dict[str, float]:
        done = min(self.worker.task.steps, self.round * self.worker.task.steps_a_round)
        if not done:
            return {}
        self._take()
        return {"accuracy": self.worker.evaluate(done)}

    def _take(self) -> None:
        self.worker.load(self.get_model().get_model().state_dict())

    def interrupt_fit(self) -> None:
        pass

    def get_framework(self) -> str:
        return "pytorch"


set_standalone_settings()
task, id = Task.load(Path(sys.argv[1])), int(sys.argv[2])
worker = Worker(task, id)
data = P2PFLDataset(
    Dataset.from_dict({"label": worker.private.labels.tolist()}), batch_size=task.tables["train"]["batch"]
)
node = Node(Model(worker.model), data, addr=task.addresses[id], learner=OwnLearner(worker))
node.start()
for address in task.addresses[:id]:
    while not node.connect(address):
        time.sleep(1)
if id == 0:
    while len(node.get_neighbors(only_direct=True)) < task.nodes - 1:
        time.sleep(0.5)
    node.set_start_learning(rounds=task.rounds, epochs=task.local_epochs, trainset_size=task.nodes)
while node.state.round is None:
    time.sleep(0.5)
while node.state.round is not None:
    time.sleep(0.5)
time.sleep(LINGER)
