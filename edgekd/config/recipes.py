"""The default settings of training, for networks with pretrained weights and for those with random weights.

Both were chosen in experiments/gap.md, for the same amount of computing. Pretrained features must be kept, and random
ones changed.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """Defaults that belong together; each field is the default of the setting with the same name."""

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
