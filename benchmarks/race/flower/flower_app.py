"""The Flower app: what the server and each client do in a round. Needs the variable RACE_TASK, a task.json."""

import os
from collections import OrderedDict
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, FedProx
from race.work import Task, Worker

task = Task.load(Path(os.environ["RACE_TASK"]))
server = ServerApp()  # Flower looks for these two names in the text of this file
client = ClientApp()


class EvaluateAtTheEnd:
    """Spares the evaluation after a round: a client evaluates the averaged weights when it gets them for the next."""

    def configure_evaluate(self, server_round, arrays, config, grid):
        if server_round < task.rounds:
            return []
        return super().configure_evaluate(server_round, arrays, config, grid)


class Average(EvaluateAtTheEnd, FedAvg):
    pass


class Proximal(EvaluateAtTheEnd, FedProx):
    pass


@server.main()
def main(grid: Grid, context: Context) -> None:
    few = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": task.nodes}
    strategy = Proximal(proximal_mu=task.proximal, **few) if task.proximal else Average(**few)
    first = Worker(task, 0).weights()
    config = ConfigRecord({"proximal-mu": task.proximal})
    strategy.start(grid, ArrayRecord(first), num_rounds=task.rounds, train_config=config)


@client.train()
def train(message: Message, context: Context) -> Message:
    worker, round = _worker(message, context)
    steps = task.steps_of(round)
    if steps.start:
        worker.evaluate(steps.start)
    worker.train(steps)
    metrics = MetricRecord({"num-examples": len(worker.private.labels)})
    content = RecordDict({"arrays": ArrayRecord(worker.weights()), "metrics": metrics})
    return Message(content, reply_to=message)


@client.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    worker, round = _worker(message, context)
    accuracy = worker.evaluate(task.steps_of(round).stop)
    metrics = MetricRecord({"accuracy": accuracy, "num-examples": len(worker.private.labels)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def _worker(message: Message, context: Context) -> tuple[Worker, int]:
    """A new worker with the weights of the message, and the round from 0: an app keeps nothing between messages."""
    worker = Worker(task, int(context.node_config["partition-id"]))
    worker.load(OrderedDict(message.content["arrays"].to_torch_state_dict()))
    return worker, int(message.content["config"]["server-round"]) - 1
