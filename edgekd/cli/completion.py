"""What a shell completes an option's value with."""

from collections.abc import Callable, Sequence

import click
from click.shell_completion import CompletionItem

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def completing(values: Sequence[str], path: bool = False, *, many: bool = False) -> Complete:
    """What click asks for the values that begin with what was typed so far.

    Args:
        values: that have a name.
        path: where none of them begins so, files and folders are offered.
        many: the option takes a list with commas, whose last item is completed.
    """

    def complete(ctx: click.Context, option: click.Parameter, typed: str) -> list[CompletionItem]:
        before, comma, last = typed.rpartition(",") if many else ("", "", typed)
        found = [CompletionItem(f"{before}{comma}{value}") for value in values if value.startswith(last)]
        return found or ([CompletionItem(typed, type="file")] if path else [])

    return complete
