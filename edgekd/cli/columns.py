"""Tables that fit the terminal: a narrow one shows fewer columns, and no number is cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

BESIDE = 3  # characters around a cell: a line and two spaces


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    rank: int = 0  # 0: always shown; of the others the one with the highest rank is left out first
    justify: Literal["left", "right"] = "right"


def shown_titles(table: Table) -> set[str]:
    """The titles of the columns that a `fitted` table shows."""
    return {str(column.header) for column in table.columns}


def fitted(
    columns: Sequence[Column], parts: Sequence[Sequence[Sequence[str]]], console: Console, title: str | None = None
) -> Table:
    """Make a table with as many columns as `console` has room for; its last line names the columns left out.

    Args:
        columns: from left to right.
        parts: groups of rows with a line between them; each row has a cell for each column.
        console: where the table will be printed. If that is no terminal, such as a file, all columns are shown.
        title: shown above the table; None: no title.
    """
    least = [
        max(cell_len(text) for text in [*column.title.split(), *(row[i] for part in parts for row in part)])
        for i, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    while (room := console.width - 1 - sum(least[i] + BESIDE for i in shown)) < 0 and console.is_terminal:
        spare = max(shown, key=lambda i: columns[i].rank)
        if columns[spare].rank == 0:
            break
        shown.remove(spare)
    table = Table(title=title, title_justify="left", caption_justify="left")
    if left_out := [column.title for i, column in enumerate(columns) if i not in shown]:
        table.caption = Text(f"a wider terminal shows: {', '.join(left_out)}", style="dim")
    for i in shown:
        wider = min(max(0, room), max(0, cell_len(columns[i].title) - least[i]))  # for a title in one line
        room -= wider
        width = None if room < 0 else least[i] + wider  # None: cells too long even now are wrapped
        table.add_column(columns[i].title, justify=columns[i].justify, width=width, overflow="fold")
    for part in parts:
        for row in part:
            table.add_row(*(row[i] for i in shown))
        table.add_section()
    return table
