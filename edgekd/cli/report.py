"""``edgekd report``: writes the results of sweeps as a page, tables and figures."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekd.cli.lines import say
from edgekd.cli.options import PATH

if TYPE_CHECKING:
    from edgekd.lab.findings.asked import Choices
    from edgekd.lab.report.contents import Paper

EXAMPLES = """
\b
Examples:
  edgekd report results --out report
  edgekd report results --against measure=kl --against combine
  edgekd report results/cifar10 results/scenes results/gap --paper --out docs/report
"""


@click.command(epilog=EXAMPLES)
@click.argument("folders", nargs=-1, required=True, type=PATH, metavar="DIR...")
@click.option(
    "--against",
    multiple=True,
    metavar="SETTING[=VALUE]",
    help="Compare the values of this setting, each against VALUE; may be given several times.  [default: the measure "
    "if it varies, else all settings that do; against the setting's default if it is there, else the first value]",
)
@click.option(
    "--paper", is_flag=True, help="Also make the paper's figure and tables, and a verdict on each of its findings."
)
@click.option(
    "--out",
    type=PATH,
    default=Path("report"),
    show_default=True,
    metavar="REPORT",
    help="Folder for the report.",
)
def command(folders: tuple[Path, ...], against: tuple[str, ...], paper: bool, out: Path) -> None:
    """Report what the sweeps in DIR... have found: which value of each setting to choose, and how certain that is.

    Writes index.html (one page that loads nothing else), report.md and tables.csv; with --paper also findings.json,
    figure2.png and figure2.svg.
    """
    from edgekd.cli.bars import stages

    with stages() as begin:
        begin("loading")
        from edgekd.lab.report.write import write_report

        material = write_report(folders, out, against, paper=paper, begin=begin)
    _print_choices(material.choices)
    if material.paper:
        _print_findings(material.paper)
    say(f"the report is {out / 'index.html'}, the same for reading in a repository {out / 'report.md'}")


def _print_choices(choices: "Choices") -> None:
    from edgekd.cli.columns import Column, fitted
    from edgekd.cli.tables import wide_console
    from edgekd.lab.findings.asked import value_text
    from edgekd.lab.report import prose
    from edgekd.lab.report.choosing import advice, p_text, place_titles
    from edgekd.lab.report.layout import found_text, number_text
    from edgekd.printable import printable

    if not choices.questions:
        say(prose.NOTHING_TO_CHOOSE.replace("`", ""))
        return
    columns = [Column("where", 1, "left"), Column("value", 0, "left"), Column("against", 2, "left")]
    columns += [Column("accuracy", 3), Column("difference [95 % interval]", 0, "left"), Column("p", 4), Column("n", 5)]
    columns += [Column("verdict", 0, "left")]
    rows: list[list[str]] = []
    titles = place_titles(choices.questions)
    for question, title in zip(choices.questions, titles, strict=True):
        for answer in question.answers:
            value, reference = f"{question.setting} {value_text(answer.value)}", value_text(question.reference)
            found = (found_text(answer.found), p_text(answer.p), str(answer.found.n), answer.verdict)
            cells = (title, value, reference, number_text(answer.accuracy), *found)
            rows.append(list(map(printable, cells)))
    console = wide_console()
    console.print(fitted(columns, [rows], console))
    for question, title in zip(choices.questions, titles, strict=True):
        say(f"{title}, {question.setting}: {advice(question)}".replace("`", ""))


def _print_findings(paper: "Paper") -> None:
    from edgekd.cli.columns import Column, fitted
    from edgekd.cli.tables import wide_console
    from edgekd.lab.report.layout import found_text

    findings = [*paper.findings, paper.control]
    columns = [Column("finding", 0, "left"), Column("verdict", 0, "left"), Column("effect [95 % interval]", 1, "left")]
    found = [(finding, finding.deciding.found) for finding in findings]
    rows = [[finding.id, finding.verdict, found_text(each), str(each.n)] for finding, each in found]
    console = wide_console()
    console.print(fitted([*columns, Column("n", 2)], [rows], console))
    if any(finding.missing for finding in findings):
        say("undecided for want of cells: the report says which, under each finding")
