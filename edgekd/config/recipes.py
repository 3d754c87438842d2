"""What training is like where nothing was said of it: from pretrained weights, and from random ones.

Both are chosen by experiments/gap.md, for the same computing. Pretrained features must be kept, random ones changed.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """Defaults that go together; each is named and explained as the setting of this name."""

    steps: int
    batch: int  # images
    optimiser: str
    norm_from: str
    head_start: str
    head_end: str
    freeze: float


PRETRAINED = Recipe(
    steps=80,
    batch=90,
    optimiser="adamw",
    norm_from="public",
    head_start="discriminant",
    head_end="discriminant",
    freeze=0.25,
)
SCRATCH = Recipe(
    steps=120,
    batch=32,
    optimiser="sgd",
    norm_from="private",
    head_start="random",
    head_end="trained",
    freeze=0.0,
)
