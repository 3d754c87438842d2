"""``edgekd simulate``: all learners in one process, in lockstep or under a virtual clock."""

import json
from pathlib import Path

import click

from edgekd.cli.lines import say
from edgekd.cli.options import PATH, settings
from edgekd.config import LIVE, Config
from edgekd.errors import ConfigError
from edgekd.workers import at_once

EXAMPLES = """
\b
Examples:
  edgekd simulate --gamma 15 --seed 1
  edgekd simulate --measure sed --combine sum --json
  edgekd simulate --clients 4 --liars 1 --lie flip --combine agreement
  edgekd simulate --clients 64 --topology ring --model mobilenet_v3_small
  edgekd simulate --async --step-times 1:1.5:3 --delay 2 --down 1:40-80:checkpoint
  edgekd simulate --async --clients 1000 --topology regular:8 --model none    # the exchange alone, no learning
"""


@click.command(epilog=EXAMPLES)
@settings("data", "distill", "model", "train", "exchange", "simulation", without=LIVE)
@click.option("--out", type=PATH, metavar="DIR", help="Folder of results.  [default: runs/TIME-DATA]")
@click.option("--jobs", type=click.IntRange(1), help="Learners that compute at once.  [default: as cores allow]")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON on stdout, nothing else.")
def command(config: Config, out: Path | None, jobs: int | None, as_json: bool) -> None:
    """Run all learners in one process.

    In lockstep they do what synchronous peers do, bit for bit. With --async each goes at a speed of its own under a
    virtual clock, with delays, losses and boxes that are off for a while.
    """
    if config.data.private is not None:
        raise ConfigError("simulate splits one data set among its learners: use --data; --private is for `edgekd peer`")
    from edgekd.files.runs import data_name, make_run_folder, write_config, write_summary
    from edgekd.simulation.box import StepReport
    from edgekd.simulation.groups import simulate

    folder = make_run_folder(out, data_name(config))
    write_config(folder, config)

    def show(report: StepReport) -> None:
        if report.accuracy is not None and not as_json:
            say(f"peer {report.id}: step {report.step}/{config.train.steps}, accuracy {report.accuracy.overall:.3f}")

    count = jobs or at_once(config.train.threads)
    summary = simulate(config, show, jobs=count)
    write_summary(folder, summary)
    if as_json:
        print(json.dumps(summary.to_mapping(), indent=2))
        return
    from edgekd.cli.tables import exchange_lines, print_results
    from edgekd.simulation.stand_in import MODEL

    if config.model.model != MODEL:  # stand-ins have no accuracy
        print_results(summary)
    if config.simulation.asynchronous:
        print("\n".join(exchange_lines(summary.peers)))
    say(f"results in {folder}")
