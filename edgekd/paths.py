"""Paths as users write them, made usable."""

import os
from pathlib import Path


def expanded(path: str) -> Path:
    """Replace ``~`` in `path` by the home folder.

    If there is no home folder, ``~`` stays, whereas `Path.expanduser` would raise an error.
    """
    return Path(os.path.expanduser(path))
