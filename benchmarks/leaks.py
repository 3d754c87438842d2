"""Measures what a neighbour can learn from a peer's broadcasts, and how much accuracy it costs to hide it.

    python benchmarks/leaks.py --data folder:cifar10/train --weights resnet18-tinyimagenet.safetensors

For each way to broadcast and each seed, three peers are trained in lockstep (gamma 15, else the defaults). Then each
peer is attacked with all its broadcasts, and its row is appended to --out, a CSV file. Existing rows are not repeated.

- named: the share of the peer's frequent labels that its predictions reveal. distance: the total variation between its
  mean prediction and its true label distribution. uniform: the same for a guess without knowledge.
- copy: whether an image was in the peer's shard, guessed with a network that was trained on its broadcasts alone (area
  under the curve, 0.5 is chance).
- asked: the same, if the attacker could put the images in question into the public file, which all peers answer.
"""

import argparse
import csv
import dataclasses
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from leak_attacks import (
    Broadcast,
    area_under_curve,
    confidence,
    copy_model,
    matched,
    mean_prediction,
    named_right,
    total_variation,
)

from edgekd.config import Config, from_mapping
from edgekd.contract import make_contract
from edgekd.data.datasets import PeerData, load_group
from edgekd.data.public import make_public
from edgekd.data.sources import Labelled
from edgekd.learning.learner import Learner
from edgekd.protocol.codec import decode, encode
from edgekd.protocol.encodings import Packing
from edgekd.simulation.lockstep import Lockstep

WAYS: dict[str, dict[str, dict[str, Any]]] = {
    "default": {},
    "no balance": {"distill": {"balance": "off"}},
    "temperature 1": {"distill": {"temperature": 1.0}},
    "temperature 4": {"distill": {"temperature": 4.0}},
    "one-bit": {"exchange": {"encoding": "one-bit"}},
    "noise 1": {"exchange": {"noise_std": 1.0}},
    "noise 3": {"exchange": {"noise_std": 3.0}},
    "one-bit, noise 3": {"exchange": {"encoding": "one-bit", "noise_std": 3.0}},
}
FOUND = ("accuracy", "distance", "uniform", "named", "copy", "asked")
COLUMNS = ("way", "seed", "peer", *FOUND)


def settings(given: argparse.Namespace, way: str, seed: int) -> Config:
    base = {
        "data": {"data": given.data, "limit": given.limit, "size": given.size, "gamma": 15.0},
        "model": {"weights": given.weights},
        "train": {"steps": given.steps, "seed": seed, "eval_every": 0},
    }
    return from_mapping({name: {**base.get(name, {}), **WAYS[way].get(name, {})} for name in {*base, *WAYS[way]}})


def train(group: dict[int, PeerData], config: Config) -> tuple[Lockstep, dict[int, list[Broadcast]]]:
    """Train a group; return it, and for each peer its broadcasts of all rounds."""
    lockstep = Lockstep(group, config)
    said: dict[int, list[Broadcast]] = defaultdict(list)
    for step in range(config.steps):
        for _ in lockstep.step(step):
            pass
        for id, probs in lockstep.probs.items():
            said[id].append(Broadcast(step, probs[0]))
    return lockstep, said


def attack(id: int, group: dict[int, PeerData], lockstep: Lockstep, said: dict[int, list[Broadcast]]) -> list[float]:
    config, data = lockstep.learners[id].config, group[id]
    counts = torch.bincount(data.private.labels, minlength=len(data.classes)).float()
    truth, guess = counts / counts.sum(), mean_prediction(said[id])
    others = torch.stack([mean_prediction(told) for other, told in said.items() if other != id])
    primary = int((counts > counts.mean()).sum())
    uniform = torch.full_like(truth, 1 / len(truth))
    members, strangers = matched(data.private, data.evaluation)
    copy = copy_model(said[id], data.public, config, data.private.images.shape[-1])
    answers = [asked(lockstep.learners[id], data, images) for images in (members, strangers)]
    accuracy = lockstep.learners[id].evaluate(data.evaluation)
    assert accuracy is not None
    return [
        accuracy.overall,
        total_variation(guess, truth),
        total_variation(uniform, truth),
        named_right(guess, others, truth, primary),
        area_under_curve(confidence(copy, members), confidence(copy, strangers)),
        area_under_curve(*answers),
    ]


def asked(learner: Learner, data: PeerData, images: Labelled) -> torch.Tensor:
    """The log-probability of each true label in a peer's broadcasts if `images` were the public set, ``[images]``.

    The order is that of the public batches.
    """
    config = learner.config
    public = make_public(images.images, data.classes, "none")
    probe = Learner(dataclasses.replace(data, public=public), config, learner.id)
    probe.restore(learner.state(), learner.step)
    labels = {image.numpy().tobytes(): int(label) for image, label in zip(images.images, images.labels, strict=True)}
    packing, rows, found = Packing.parse(config.exchange.encoding), public.rows(config.public_batch), []
    for round in range(len(public) // rows):
        probs = decode(encode(probe.teach(round), round, packing), make_contract(public, config))[0]
        truth = torch.tensor([labels[image.numpy().tobytes()] for image in public.batch(round, rows)])
        found.append(probs.gather(1, truth[:, None])[:, 0].clamp_min(1e-12).log())
    return torch.cat(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--limit", type=int, default=6000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--out", type=Path, default=Path("leaks.csv"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.out.exists():
        given.out.write_text(",".join(COLUMNS) + "\n")
    with given.out.open() as file:
        done = {(row["way"], int(row["seed"])) for row in csv.DictReader(file)}
    for seed in given.seeds:
        for way in given.ways:
            if (way, seed) not in done:
                measure(given, way, seed)
    print_table(given.out)


def measure(given: argparse.Namespace, way: str, seed: int) -> None:
    config = settings(given, way, seed)
    group = dict(enumerate(load_group(config.data, seed=config.data_seed)))
    lockstep, said = train(group, config)
    rows = [[f'"{way}"', seed, id, *(f"{x:.4f}" for x in attack(id, group, lockstep, said))] for id in group]
    with given.out.open("a") as file:  # all rows or none
        file.write("".join(",".join(map(str, row)) + "\n" for row in rows))
    print(f"seed {seed}, {way}: done", flush=True)


def print_table(path: Path) -> None:
    """Print a table in Markdown: means over the seeds and peers, with the standard error over the seeds."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            found.setdefault(row["way"], {}).setdefault(row["seed"], []).append([float(row[name]) for name in FOUND])
    print(f"| way | {' | '.join(FOUND)} |\n|{' --- |' * (len(FOUND) + 1)}")
    for way, seeds in found.items():
        means = torch.tensor([torch.tensor(peers).mean(dim=0).tolist() for peers in seeds.values()])  # [seeds, FOUND]
        errors = means.std(dim=0, unbiased=len(means) > 1) / len(means) ** 0.5
        cells = [f"{mean:.3f} ± {error:.3f}" for mean, error in zip(means.mean(dim=0), errors, strict=True)]
        print(f"| {way} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
