"""Start two peers in one program, as in a notebook. They teach each other in lockstep while the program watches.

    python two_peers.py

On two boxes, each program starts one peer and gives it the address of the other.
"""

# %% The settings have the names of the flags of `edgekd peer`
import math
import tempfile
from pathlib import Path

from torch import nn

import edgekd
import peer


def make(classes: int) -> nn.Module:
    """A small network, so that this takes seconds. Without `model=make` the network is a ResNet18."""
    features = [nn.Conv2d(3, 16, 5, stride=4), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*features, nn.Linear(16 * 7 * 7, classes))


config = edgekd.Config.of(
    data="digits",
    clients=2,
    gamma=15.0,  # each peer has other digits more often
    model=make,
    steps=120,
    eval_every=40,
    sync=math.inf,  # each step waits for the predictions of the other peer
    threads=1,
)
folder = Path(tempfile.mkdtemp(prefix="edgekd-two-peers-"))

# %% Start both peers. Each trains in a thread of its own
first = peer.start(config, id=0, listen="127.0.0.1:0", out=folder / "0")
second = peer.start(config, id=1, peers=[first.address], out=folder / "1")

# %% Watch one of them. The loop ends when the peer ends
for progress in first:
    if progress.state == "training" and progress.accuracy_step == progress.step:
        print(f"peer 0, step {progress.step}: accuracy {progress.accuracy:.3f}, neighbours up: {progress.up}")

# %% See the results. If the training of a peer failed, `wait` raises its error
for running in (first, second):
    reached = running.wait()
    print(f"peer {reached.id}: accuracy {reached.accuracy:.3f}, {reached.lessons} lessons")

# %% Use the network, a torch.nn.Module. A checkpoint can be loaded to classify pictures
print(sum(weight.numel() for weight in first.model.parameters()), "weights; the checkpoints are in", first.folder)
print("classes:", ", ".join(edgekd.load(first.folder, model=make).classes))
