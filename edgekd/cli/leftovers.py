"""Cleaning up after a command that was refused: it must not leave empty folders behind."""

from functools import partial
from pathlib import Path

import click

from edgekd.files.writable import missing_folders, remove_empty


def leave_no_empty_folder(path: Path) -> None:
    """At the end of the current command, remove those missing folders of `path` that it has made and left empty."""
    click.get_current_context().call_on_close(partial(remove_empty, missing_folders(path)))
