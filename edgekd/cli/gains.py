"""A table of the accuracy that each peer of a run has gained in each class."""

from collections.abc import Mapping

from rich.console import Console

from edgekd.cli.columns import Column, fitted
from edgekd.files.evaluation_file import Counted
from edgekd.files.summary import SURE
from edgekd.lab.report.gains import ALONE, BALANCED, class_gains, gain_text
from edgekd.learning.evaluation import Confusion
from edgekd.printable import printable

SHOWN = 20  # classes, at most: those in which a peer has gained or lost most


def print_gains(counted: Mapping[int, Counted], alone: Mapping[str, Mapping[int, Confusion]], console: Console) -> None:
    """Print a row for each class and a column for each peer; print nothing if no peer was evaluated.

    Args:
        counted: the last evaluation of each peer, by its id.
        alone: the confusion matrices of the peers that trained alone, by kind of baseline and by id.
        console: where to print.
    """
    if not counted:
        return
    ids = sorted(counted)
    names, against = counted[ids[0]].classes, BALANCED if BALANCED in alone else ALONE
    gains = class_gains(counted, alone, ids)
    most = [max(abs(gains[id][i].gain or 0) for id in ids) for i in range(len(names))]
    shown = sorted(sorted(range(len(names)), key=lambda i: -most[i])[:SHOWN])
    columns = [Column("class", justify="left"), *(Column(f"peer {id}", place) for place, id in enumerate(ids))]
    rows = [[printable(names[i]), *(gain_text(gains[id][i]) for id in ids)] for i in shown]
    console.print(f"Accuracy by class, together minus {against}:", soft_wrap=True, highlight=False)
    console.print(fitted(columns, [rows], console))
    left = f" {len(names) - len(shown)} more classes are in report.html." if len(shown) < len(names) else ""
    console.print(
        f"* is more than {SURE:g} standard errors; the rest may be chance.{left}", soft_wrap=True, highlight=False
    )
