"""Makes pictures that are all different and whose classes are easy to tell apart."""

from pathlib import Path

import torch
from PIL import Image


def picture(path: Path, seed: int, mean: int, *, height: int = 16, width: int = 16) -> Path:
    """Write a picture of noise around the grey value `mean`, from 30 to 225; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = torch.randint(-30, 30, (height, width, 3), generator=torch.Generator().manual_seed(seed))
    Image.fromarray((noise + mean).to(torch.uint8).numpy()).save(path)
    return path
