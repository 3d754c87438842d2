"""A check that the files named in a sweep's settings have not changed, before the sweep goes on.

Cells are identified by their settings. These name pictures, weights, functions and edges only by their paths.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from edgekd.data.pictures import is_of_system, suffixes
from edgekd.errors import ConfigError
from edgekd.extensions import is_extension, spelt
from edgekd.files.atomic import write_atomically
from edgekd.files.tensors import CHUNK
from edgekd.lab.sweep.records import Cell, read_outcomes
from edgekd.paths import expanded

FILE = "named-files.json"  # in the folder of results: name of a file, or folder of pictures -> its SHA-256


def check_unchanged(cells: Iterable[Cell], folder: Path) -> None:
    """Check that the files that these cells name are the same as for the results in `folder`, and note them there.

    For results of earlier versions this is unknown; then there is no error.

    Raises:
        ConfigError: a file has changed, or the note in the folder is damaged.
        OSError: the folder cannot be written.
    """
    held = {name for outcome in read_outcomes(folder) for name in _names(outcome.cell)}
    before = {name: digest for name, digest in _read(folder / FILE).items() if name in held}
    names = sorted({name for cell in cells for name in _names(cell)})
    now = {name: _digest(expanded(name)) for name in names if expanded(name).exists()}
    for name, digest in now.items():
        if before.get(name, digest) != digest:
            raise ConfigError(
                f"{name} is not what it was for the results in {folder}: files were added, removed, renamed or "
                "changed, so new results could not be compared with those. Undo that, or choose another --out"
            )
    if now.keys() - before.keys():
        content = json.dumps({**before, **now}, indent=1, sort_keys=True) + "\n"
        write_atomically(folder / FILE, [content.encode()])


def _names(cell: Cell) -> Iterator[str]:
    """The paths in the settings of a cell, as written there, and values that are not paths, such as "full"."""
    config = cell.config
    functions = [name for name in map(spelt, (config.distill.measure, config.distill.combine)) if is_extension(name)]
    paths = [name.rpartition(":")[0] for name in functions]
    paths += [spelt(config.data.data).partition(":")[2], config.weights, config.exchange.topology]
    return filter(None, paths)


def _digest(path: Path) -> str:
    """The SHA-256 of a file; for a folder, of the pictures in its subfolders and of their names."""
    if not path.is_dir():
        return _sha256(path)
    digest = hashlib.sha256()
    for file in sorted(path.glob("*/*")):
        if file.suffix.lower() in suffixes() and not is_of_system(file) and not is_of_system(file.parent):
            digest.update(os.fsencode(file.relative_to(path)) + b"\0" + _sha256(file).encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    """The SHA-256 of a file's content; "" if it cannot be read, which the code that needs the file will report."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(CHUNK):
                digest.update(piece)
    except OSError:
        return ""
    return digest.hexdigest()


def _read(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(digest) for name, digest in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"cannot read {path}, which says what the results were made with: {error}") from error
