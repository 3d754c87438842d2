"""``edgekd report``: what sweeps have found, as a page, tables and figures."""

from pathlib import Path

import click

from edgekd.cli.options import PATH

EXAMPLES = """
\b
Examples:
  edgekd report results --out report
  edgekd report results/cifar10 results/scenes results/gap --out docs/report
"""


@click.command(epilog=EXAMPLES)
@click.argument("folders", nargs=-1, required=True, type=PATH, metavar="DIR...")
@click.option(
    "--out",
    type=PATH,
    default=Path("report"),
    show_default=True,
    metavar="REPORT",
    help="Folder of the report.",
)
def command(folders: tuple[Path, ...], out: Path) -> None:
    """Say what the sweeps in DIR... have found, against the paper's findings.

    Writes index.html (one page that loads nothing), report.md, figure2.png and .svg, tables.csv and findings.json.
    """
    from rich.table import Table

    from edgekd.cli.lines import say
    from edgekd.cli.tables import wide_console
    from edgekd.lab.report.layout import found_text
    from edgekd.lab.report.write import write_report

    findings = write_report(folders, out)
    table = Table()
    for name in ("finding", "verdict", "effect [95 % interval]", "n"):
        table.add_column(name, justify="right" if name == "n" else "left")
    for finding in findings:
        found = finding.deciding.found
        table.add_row(finding.id, finding.verdict, found_text(found), str(found.n))
    wide_console().print(table)
    if any(finding.missing for finding in findings):
        say("undecided for want of cells: the report says which, under each finding")
    say(f"the report is {out / 'index.html'}, the same for reading in a repository {out / 'report.md'}")
