"""Prints the judgement of a checkpoint (how well it classifies) on a terminal."""

from rich.console import Console
from rich.table import Table

from edgekd.cli.columns import Column, fitted
from edgekd.files.summary import with_error
from edgekd.printable import printable
from edgekd.use.judgement import Judgement
from edgekd.use.scores import Scores


def print_judgement(judged: Judgement, console: Console) -> None:
    """Print a table of the classes, a table of the heads if there are several, and the lines of `lines`."""
    console.print(_classes(judged.scores, console))
    if len(judged.heads) > 1:
        console.print(_heads(judged, console))
    for line in lines(judged.scores):
        console.print(line, soft_wrap=True, highlight=False)


def lines(found: Scores) -> list[str]:
    """Lines of text with the scores over all classes."""
    own = "not known" if found.own_accuracy is None else _text(found.own_accuracy)
    ranks = [f"top-{k} accuracy {value:.3f}" for k, value in found.top_k.items() if k > 1]
    said = [", ".join([*ranks, f"macro F1 {found.macro_f1:.3f}", f"own-distribution accuracy {own}"])]
    if found.bins:
        beside = f"(mean probability {_text(found.confidence)}, accuracy {_text(found.accuracy)})"
        said.append(f"expected calibration error {_text(found.calibration_error)} {beside}")
    return said


def _classes(found: Scores, console: Console) -> Table:
    columns = [Column("class", justify="left"), Column("images", 2), Column("precision", 3)]
    columns += [Column("recall"), Column("F1", 1), Column("most often taken for", 4, justify="left")]
    rows = []
    for index, each in enumerate(found.classes):
        recall = with_error(each.recall, each.support)
        cells = [printable(each.name), str(each.support), _text(each.precision), recall, _text(each.f1)]
        rows.append([*cells, _taken_for(found, index)])
    return fitted(columns, [rows], console)


def _taken_for(found: Scores, index: int) -> str:
    wrong = found.most_taken_for(index)
    return "-" if wrong is None else f"{printable(wrong[0])} {wrong[1]:.0%}"


def _heads(judged: Judgement, console: Console) -> Table:
    columns = [
        Column("head", justify="left"),
        Column("accuracy"),
        Column("macro F1", 2),
        Column("calibration error", 1),
    ]
    rows = [
        [
            f"{number}, answers" if number == judged.head else str(number),
            f"{each.accuracy:.3f}",
            f"{each.macro_f1:.3f}",
            _text(each.calibration_error),
        ]
        for number, each in enumerate(judged.heads)
    ]
    return fitted(columns, [rows], console)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
