"""What a command that is refused leaves behind: no empty folder that it has made."""

from functools import partial
from pathlib import Path

import click

from edgekd.files.writable import missing_folders, remove_empty


def leave_no_empty_folder(path: Path) -> None:
    """Have the folders that this command makes for `path` removed at its end, if they are empty then."""
    click.get_current_context().call_on_close(partial(remove_empty, missing_folders(path)))
