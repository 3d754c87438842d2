"""What the nodes learn: the data set and its split, the network, and the training."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Table = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """A data set and a training, in the names of edgekd's settings."""

    name: str
    data: Table  # the section [data], for `edgekd split`
    model: Table
    train: Table
    mean_shard: int  # images of a node on average, with 3 nodes; it gives the steps of a local epoch
    rates: tuple[float, ...]  # the peak learning rates that the tuning tries

    @property
    def steps(self) -> int:
        return int(self.train["steps"])

    def epoch(self, nodes: int) -> int:
        """The steps of a local epoch, the same for all nodes."""
        return max(1, round(self.mean_shard * 3 / nodes / int(self.train["batch"])))

    def with_steps(self, steps: int) -> "Setting":
        return dataclasses.replace(self, train={**self.train, "steps": steps})

    def tables(self, nodes: int) -> dict[str, Table]:
        """The settings of edgekd. It evaluates as often as the others: after each local epoch."""
        return {"model": self.model, "train": {**self.train, "eval_every": self.epoch(nodes), "checkpoint_every": 0}}


DIGITS = Setting(
    name="digits",
    data={"data": "digits", "gamma": 15.0},
    model={"model": "resnet18", "weights": "none"},
    train={"steps": 200, "batch": 32},
    mean_shard=479,
    rates=(0.01, 0.03, 0.06),
)
SMALL = Setting(
    name="small",
    data={"data": "digits", "gamma": 15.0},
    model={"model": f"{Path(__file__).with_name('small_network.py')}:network", "weights": "none"},
    train={"steps": 200, "batch": 32},
    mean_shard=479,
    rates=(0.01, 0.03, 0.1),
)


def cifar10(pictures: Path, weights: Path) -> Setting:
    """CIFAR-10 from a folder of JPEG files, with a pretrained ResNet18; split as edgekd's own experiments split it."""
    return Setting(
        name="cifar10",
        data={
            "data": f"folder:{pictures}",
            "limit": 10_000,
            "size": 32,
            "gamma": 15.0,
            "eval_fraction": 0.46,
            "public_fraction": 0.06,
        },
        model={"model": "resnet18", "weights": str(weights)},
        train={"steps": 80, "batch": 90},
        mean_shard=1600,
        rates=(0.0005, 0.001, 0.002),
    )
