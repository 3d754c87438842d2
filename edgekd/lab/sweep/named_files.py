"""What lies in the files that cells name: a sweep goes on only where that is what it was.

Cells are known by their settings. These name pictures, weights, functions and edges by their paths alone.
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

FILE = "named-files.json"  # in the folder of results: the SHA-256 of each file, or folder of pictures, by its name


def check_unchanged(cells: Iterable[Cell], folder: Path) -> None:
    """See whether what these cells name is as it was for those that `folder` holds, and note it there.

    Of results of earlier versions it is not known: they are gone on from.

    Raises:
        ConfigError: it has changed, or the folder holds something else.
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
    """The paths in the settings of a cell, as they are written there; among them what is no path, such as "full"."""
    config = cell.config
    functions = [name for name in map(spelt, (config.distill.measure, config.distill.combine)) if is_extension(name)]
    paths = [name.rpartition(":")[0] for name in functions]
    paths += [spelt(config.data.data).partition(":")[2], config.weights, config.exchange.topology]
    return filter(None, paths)


def _digest(path: Path) -> str:
    """The SHA-256 of a file; or of the pictures in the subfolders of a folder, and their names."""
    if not path.is_dir():
        return _sha256(path)
    digest = hashlib.sha256()
    for file in sorted(path.glob("*/*")):
        if file.suffix.lower() in suffixes() and not is_of_system(file) and not is_of_system(file.parent):
            digest.update(os.fsencode(file.relative_to(path)) + b"\0" + _sha256(file).encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    """Of the content; "" if it cannot be read, which whoever needs it tells of."""
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
