"""A newcomer with nothing but an address and its pictures: what the group knows, it learns at once."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from processes import addresses, metrics

FIRST = 40  # the step of a newcomer's first evaluation
TRAINED = 200  # the step at which the group gets company, and knows something


def accuracies(out: Path, id: int) -> dict[int, float]:
    return {record["step"]: record["accuracy"] for record in metrics(out, id) if "accuracy" in record}


def test_newcomers_first_evaluation_is_above_that_of_the_same_peer_alone(spawn: Any, tmp_path: Path) -> None:
    split = ["split", "--data", "digits", "--clients", "3", "--gamma", "15", "--out", str(tmp_path / "shards")]
    subprocess.run([sys.executable, "-m", "edgekd", *split], check=True, capture_output=True)
    shards = tmp_path / "shards"
    where = addresses(3)
    train = ["--weights", "none", "--batch", 16, "--steps", 0, "--eval-every", FIRST, "--json"]

    def start(id: int, out: Path, *more: object) -> Any:
        pictures = ["--private", f"folder:{shards}/client-{id}/private", "--eval", f"folder:{shards}/eval"]
        return spawn(["peer", "--id", id, "--out", out / f"peer-{id}", *pictures, *train, *more])

    public = ["--public", shards / "public.safetensors"]
    group = [
        start(id, tmp_path, *public, "--listen", where[id], "--peers", where[1 - id], "--wait-for", 1) for id in (0, 1)
    ]
    for step in range(TRAINED // 4, TRAINED + 1, TRAINED // 4):  # a deadline for each quarter: a busy machine is slow
        for each in group:
            each.until_step(step)
    joined = start(2, tmp_path, "--peers", where[0], "--wait-for", 1)
    joined.until_step(FIRST)
    joined.terminate()
    for each in group:
        each.terminate()
    alone = start(2, tmp_path / "alone", *public)
    alone.until_step(FIRST)
    alone.terminate()
    lessons = [record["lesson"] is not None for record in metrics(tmp_path, 2)[:FIRST]]
    together, by_itself = accuracies(tmp_path, 2)[FIRST], accuracies(tmp_path / "alone", 2)[FIRST]
    print(f"after {FIRST} steps, {sum(lessons)} with a lesson: {together:.3f}; alone {by_itself:.3f}")
    assert sum(lessons) > FIRST / 2
    assert together > by_itself
