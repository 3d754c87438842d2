"""Makes a small network, and a checkpoint of it, without training."""

from functools import cache
from pathlib import Path
from typing import Any

import torch

from edgekd.files.checkpoint import CheckpointInfo, save_checkpoint
from edgekd.learning.evaluation import Accuracy
from edgekd.learning.models import Classifier, make_model

MODEL, SIZE, CLASSES = "shufflenet_v2_x0_5", 32, ("cat", "dog", "ship")


@cache
def network(seed: int = 0, heads: int = 1) -> Classifier:
    """Make a network in evaluation mode whose logits differ from picture to picture. Do not change it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make_model(MODEL, "none", len(CLASSES), SIZE, heads=heads, hidden=(16,))
        for _ in range(3):  # in training mode, for the statistics of batch norm
            model(torch.randn(16, 3, SIZE, SIZE))
    return model.eval()


def write_checkpoint(folder: Path, model: Classifier | None = None, /, **changes: Any) -> Path:
    """Write a checkpoint of peer 0 at step 60; return its path.

    Args:
        folder: where to write it.
        model: whose weights it holds; None: `network()`.
        **changes: fields of its `CheckpointInfo`; `state` holds further tensors by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    more = changes.pop("state", {})
    fields: dict[str, Any] = {
        "id": 0,
        "step": 60,
        "round": 60,
        "model": MODEL,
        "classes": CLASSES,
        "size": SIZE,
        "heads": 1,
        "head_layers": "16",
        "counts": {},
        "accuracy": Accuracy(0.5, 0.75, (0.5,), 180, step=60),
        "made_with": {"public": "ab" * 32},
    }
    state = {f"model.{name}": tensor for name, tensor in (model or network()).state_dict().items()}
    return save_checkpoint(folder, CheckpointInfo(**{**fields, **changes}), {**state, **more})


def images(count: int, seed: int = 0) -> torch.Tensor:
    """Make smooth random images, uint8 ``[count, 3, SIZE, SIZE]``."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator) * 255
    return torch.nn.functional.interpolate(coarse, SIZE, mode="bilinear").to(torch.uint8)
