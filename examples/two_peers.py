"""Two peers in one program, as in a notebook: they teach one another in lockstep while this script looks on.

    python two_peers.py

On two boxes each program starts one peer, with the other's address.
"""

# %% Settings, by the names that the flags of `edgekd peer` have
import math
import tempfile
from pathlib import Path

from torch import nn

import edgekd
import peer


def make(classes: int) -> nn.Module:
    """A small network, so that this takes seconds; leave `model` out for a ResNet18."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=4), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(784, classes)
    )


config = edgekd.Config.of(
    data="digits", clients=2, gamma=15.0,  # a skewed half of the handwritten digits each
    model=make, steps=120, eval_every=40,
    sync=math.inf, threads=1,  # each step waits for the other's predictions
)  # fmt: skip
folder = Path(tempfile.mkdtemp(prefix="edgekd-two-peers-"))

# %% Both train now, each on a thread of its own
first = peer.start(config, id=0, listen="127.0.0.1:0", out=folder / "0")
second = peer.start(config, id=1, peers=[first.address], out=folder / "1")

# %% Watch one of them; this ends when the peer does
for progress in first:
    if progress.state == "training" and progress.accuracy_step == progress.step:
        print(f"peer 0, step {progress.step}: accuracy {progress.accuracy:.3f}, {progress.up} neighbour up")

# %% What both have reached; an error of the training would be raised here
for running in (first, second):
    reached = running.wait()
    print(
        f"peer {reached.id}: accuracy {reached.accuracy:.3f}, {reached.lessons} lessons, {reached.bytes_sent} bytes sent"
    )

# %% The network, a torch.nn.Module with the weights of now; and, of a checkpoint, what takes pictures
print(sum(weight.numel() for weight in first.model.parameters()), "weights; the checkpoints are in", first.folder)
print("it knows", ", ".join(edgekd.load(first.folder, model=make).classes))
