"""Shell completion of the values of options."""

from collections.abc import Callable, Sequence

import click
from click.shell_completion import CompletionItem

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def completing(values: Sequence[str], path: bool = False, *, many: bool = False) -> Complete:
    """Make the function that click calls to complete a value which is partly typed.

    Args:
        values: the known values.
        path: if no known value fits, let the shell complete files and folders.
        many: the option takes a list with commas; complete its last item.
    """

    def complete(ctx: click.Context, option: click.Parameter, typed: str) -> list[CompletionItem]:
        before, comma, last = typed.rpartition(",") if many else ("", "", typed)
        found = [CompletionItem(f"{before}{comma}{value}") for value in values if value.startswith(last)]
        return found or ([CompletionItem(typed, type="file")] if path else [])

    return complete
