"""A node that trains alone: ``torch_node.py TASK.json ID``, or with all images: ``torch_node.py TASK.json pooled``."""

import sys
from pathlib import Path

from race.work import Task, Worker

task = Task.load(Path(sys.argv[1]))
id = None if sys.argv[2] == "pooled" else int(sys.argv[2])
worker = Worker(task, id, first=id or 0)
for round in range(task.rounds):
    worker.train(task.steps_of(round))
    worker.evaluate(task.steps_of(round).stop)
