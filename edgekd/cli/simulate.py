"""``edgekd simulate``: runs all learners in one process, in lockstep or under a virtual clock."""

import json
from pathlib import Path

import click

from edgekd.cli.bars import decoding, simulating
from edgekd.cli.grouped import GroupedCommand
from edgekd.cli.lines import say, say_lines
from edgekd.cli.options import PATH, settings
from edgekd.cli.progress import last_words, unheard
from edgekd.cli.signals import Stop, end_stopped, stoppable
from edgekd.config import LIVE, Config
from edgekd.errors import ConfigError
from edgekd.files.summary import Summary
from edgekd.learning.computing import settle
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

FIRST = ("data", "clients", "gamma", "measure", "combine", "alpha", "steps", "seed", "asynchronous", "out")  # in --help


@click.command(cls=GroupedCommand, first=FIRST, epilog=EXAMPLES)
@settings("data", "distill", "model", "train", "exchange", "simulation", without=LIVE)
@click.option("--out", type=PATH, metavar="DIR", help="Folder of results.  [default: runs/TIME-DATA]")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    metavar="N",
    help="Learners that compute at the same time.  [default: as cores allow]",
)
@click.option("--json", "as_json", is_flag=True, help="Print only the summary, as JSON, on stdout.")
def command(config: Config, out: Path | None, jobs: int | None, as_json: bool) -> None:
    """Run all learners in one process.

    In lockstep, the default, the results are those of synchronous peers, bit for bit. With --async each learner has its
    own speed under a virtual clock, and there may be delays, losses and outages.
    """
    if config.data.private is not None:
        raise ConfigError("simulate splits one data set among its learners: use --data; --private is for `edgekd peer`")
    from edgekd.cli.tables import early_line
    from edgekd.files.runs import data_name, run_folder

    side_by_side = min(jobs or at_once(1), config.data.clients)
    config = settle(config, lockstep=not config.simulation.asynchronous, side_by_side=side_by_side)

    with stoppable() as stop, run_folder(out, data_name(config)) as folder:
        summary = _simulate(config, folder, jobs or at_once(config.threads), as_json, stop)
    if stop.asked and (line := early_line(summary, config.steps, folder)):
        end_stopped(line)


def _simulate(config: Config, folder: Path, jobs: int, as_json: bool, stop: Stop) -> Summary:
    """Simulate, and write the results to `folder`. Before the first step, KeyboardInterrupt ends it, then `stop`."""
    from edgekd.files.runs import refuse_folder_of_peer, write_config, write_summary
    from edgekd.simulation.box import StepReport
    from edgekd.simulation.groups import simulate

    refuse_folder_of_peer(folder)
    begun = False

    def show(report: StepReport) -> None:
        nonlocal begun
        if not begun:
            write_config(folder, config)  # not earlier: refused settings must change nothing
        begun = True
        stop.hand_to(lambda number: None)  # from now on it ends after a step, with a summary
        if report.accuracy is not None and not as_json:
            reached = f"accuracy {report.accuracy.overall:.3f} on {report.accuracy.samples} images"
            with unheard():
                tell(f"peer {report.id}: step {report.step}/{config.steps}, {reached}")
        advance(1)

    with simulating(config.steps * config.data.clients) as (advance, tell):
        summary = simulate(config, show, jobs=jobs, stop=stop, how=decoding())
    write_summary(folder, summary)
    with last_words():
        _print(config, summary, folder, as_json)
    return summary


def _print(config: Config, summary: Summary, folder: Path, as_json: bool) -> None:
    if as_json:
        say_lines(json.dumps(summary.to_mapping(), indent=2))
        return
    from edgekd.cli.tables import exchange_lines, print_results
    from edgekd.simulation.stand_in import MODEL

    if config.model.model != MODEL:  # stand-ins have no accuracy
        print_results(summary)
    if config.simulation.asynchronous:
        say_lines("\n".join(exchange_lines(summary.peers)))
    say(f"results in {folder}")
