"""Curves read back: from event files with TensorBoard's own reader, and from ``metrics.jsonl``."""

import json
from pathlib import Path

import numpy as np

Curves = dict[str, list[tuple[int, float]]]  # by the name of the curve: (step, value)


def curves(folder: Path) -> Curves:
    """What TensorBoard shows of a peer's folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0})  # 0: every step, no sample of them
    reader.Reload()
    found = {tag: [(each.step, each.value) for each in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
    return {tag: points for tag, points in found.items() if points}


def written(metrics: Path) -> Curves:
    """What a ``metrics.jsonl`` says, as float32, which is what event files hold."""
    found: Curves = {}
    for line in metrics.read_text().splitlines() if metrics.exists() else []:
        record = json.loads(line)
        values = {
            "accuracy/overall": record.get("accuracy"),
            "accuracy/own": record.get("own_accuracy"),
            "accuracy/images": record.get("evaluation_samples"),
            "loss/labels": record["labels"],
            "loss/distil": record["distil"],
            "lesson/teachers": len(record["teachers"]),
            "lesson/round": record["lesson"],
            "lesson/age": record["age"],
            "lesson/fresh": record["fresh"],
            "peer/round": record["round"],
            "peer/private_images": record["private_samples"],
        }
        heads = record.get("head_accuracies", [])
        if len(heads) > 1:
            values |= {f"accuracy/head-{number}": value for number, value in enumerate(heads)}
        for name, value in values.items():
            if value is not None:
                found.setdefault(name, []).append((record["step"], float(np.float32(value))))
    return found
