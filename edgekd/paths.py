"""Paths as users write them."""

import os
from pathlib import Path


def expanded(path: str) -> Path:
    """`path` with ``~`` replaced by the home folder. Where there is none ``~`` stays; `Path.expanduser` would raise."""
    return Path(os.path.expanduser(path))
