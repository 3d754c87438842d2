"""The work that is the same for all: a node's images, its network, its training steps in plain PyTorch, its accuracy.

A node's program makes a `Worker`, and moves its weights to others in the way of its framework. Images, batches,
augmentation, network, optimiser and learning rate are edgekd's own. The loop is not: loss, backward, step.
"""

import dataclasses
import json
import time
from collections import OrderedDict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.config import from_mapping
from edgekd.data.augment import normalise, private_augmentation
from edgekd.data.datasets import Labelled, load_peer_data
from edgekd.learning.batches import PrivateBatches
from edgekd.learning.evaluation import evaluate
from edgekd.learning.freezing import freeze
from edgekd.learning.models import model_from_config
from edgekd.learning.optimiser import learning_rate, make_optimiser
from edgekd.learning.statistics import train_mode
from edgekd.losses.distillation import label_loss, log_prior
from edgekd.seeds import derive, seeded
from race.task import Task

__all__ = ["Task", "Worker"]

Weights = OrderedDict[str, Tensor]


class Worker:
    """The learning of one node. All nodes begin with the same weights.

    Args:
        task: what is to be done.
        id: of the node; None: this node has the images of all nodes, pooled.
        first: whose first weights it has; nodes that average begin with those of node 0.
    """

    def __init__(self, task: Task, id: int | None, first: int = 0) -> None:
        torch.set_num_threads(1)
        self.task, self.id = task, id or 0
        shards = Path(task.shards)
        data = {"public": str(shards / "public.safetensors"), "eval": f"folder:{shards / 'eval'}"}
        self._config = from_mapping({**task.tables, "data": {**data, "private": "folder:none"}})
        found = []
        for owner in range(task.nodes) if id is None else [id]:
            own = dataclasses.replace(self._config.data, private=f"folder:{shards / f'client-{owner}' / 'private'}")
            found.append(load_peer_data(own, owner, task.seed))
        self._data = found[0]
        images = torch.cat([each.private.images for each in found])
        self.private = Labelled(images=images, labels=torch.cat([each.private.labels for each in found]))
        classes, size = len(self._data.classes), images.shape[-1]
        with seeded(derive(task.seed, "peer", first, "init")):
            made = model_from_config(self._config.model, 0, weights=self._config.weights, classes=classes, size=size)
        self.model = made.to(memory_format=made.memory_format)
        self._in_evaluation = freeze(self.model.backbone, self._config.freeze)
        augment = private_augmentation(self._config.augment, size)
        self._batches = PrivateBatches(self.private, self._config.batch, augment, self._seed)
        self._prior = log_prior(self.private.labels, classes) if task.balanced else None
        self._optimiser = make_optimiser(self.model, self._config)

    def train(self, steps: range) -> float:
        """Do these steps, and return their mean loss. The optimiser keeps its momentum from one call to the next."""
        losses = []
        train_mode(self.model, self._in_evaluation)
        start = [parameter.detach().clone() for parameter in self.model.parameters()] if self.task.proximal else []
        for step in steps:
            images, labels = self._batches.at(step, torch.device("cpu"))
            loss = label_loss(self.model(normalise(images))[0], labels, self._prior)
            for parameter, before in zip(self.model.parameters(), start, strict=False):
                loss = loss + self.task.proximal / 2 * F.mse_loss(parameter, before, reduction="sum")
            losses.append(float(loss.detach()))
            loss.backward()
            config = self._config
            for group in self._optimiser.param_groups:
                group["lr"] = learning_rate(config.train.schedule, config.peak_lr, step, config.steps)
            self._optimiser.step()
            self._optimiser.zero_grad(set_to_none=True)
            self.note(step + 1)
        return sum(losses) / max(1, len(losses))

    def evaluate(self, steps_done: int) -> float:
        """Note the accuracy on the evaluation set, the same images for all nodes."""
        self.model.eval()

        def predict(images: Tensor) -> Tensor:
            logits: Tensor = self.model(normalise(images))
            return logits

        shard = torch.bincount(self.private.labels, minlength=len(self._data.classes))
        found = evaluate(predict, self._data.evaluation, shard=shard)
        assert found is not None  # nobody stops it
        self.note(steps_done, found.overall)
        return found.overall

    def weights(self) -> Weights:
        """A copy of all weights, with the running statistics of batch norm."""
        return OrderedDict((name, tensor.detach().clone()) for name, tensor in self.model.state_dict().items())

    def load(self, weights: Weights) -> None:
        """Continue from these weights."""
        self.model.load_state_dict(weights)

    def note(self, step: int, accuracy: float | None = None) -> None:
        """Write a line of this node's curve."""
        line = {"time": time.time(), "step": step} | ({} if accuracy is None else {"accuracy": accuracy})
        with Path(self.task.folder, f"node-{self.id}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _seed(self, *names: int | str) -> int:
        return derive(self.task.seed, "peer", self.id, *names)
