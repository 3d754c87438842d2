"""A click command whose ``--help`` groups its options under titles: first the most used, then one title a section."""

from collections.abc import Sequence
from typing import Any

import click

MOST_USED, OTHER = "Most used", "Other"


class GroupedOption(click.Option):
    """An option with the title of its group in ``--help``."""

    def __init__(self, *args: Any, group: str = OTHER, **given: Any) -> None:
        super().__init__(*args, **given)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose options are grouped under titles in ``--help``.

    Args:
        first: names of the most used parameters, in the order in which they are shown.
    """

    def __init__(self, *args: Any, first: Sequence[str] = (), **given: Any) -> None:
        super().__init__(*args, **given)
        self.first = tuple(first)

    def groups(self, ctx: click.Context) -> dict[str, list[click.Option]]:
        """The options under each title, each option once; the last title is `OTHER`."""
        options = {str(each.name): each for each in self.get_params(ctx) if isinstance(each, click.Option)}
        groups = {MOST_USED: [options.pop(name) for name in self.first]}
        for option in options.values():
            groups.setdefault(option.group if isinstance(option, GroupedOption) else OTHER, []).append(option)
        groups[OTHER] = groups.pop(OTHER)  # --help is always there
        return {title: group for title, group in groups.items() if group}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options into the help text. Click calls this."""
        for title, options in self.groups(ctx).items():
            with formatter.section(title):
                formatter.write_dl([record for option in options if (record := option.get_help_record(ctx))])
