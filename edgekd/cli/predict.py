"""``edgekd predict``: classifies pictures with a trained network."""

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from edgekd.cli.leftovers import leave_no_empty_folder
from edgekd.cli.lines import say, say_lines
from edgekd.cli.options import PATH, checkpoint_option, model_option, peer_option, settings, which_option
from edgekd.cli.signals import stoppable
from edgekd.config import Config
from edgekd.errors import ConfigError
from edgekd.files.writable import check_file
from edgekd.learning.computing import threads_here

EXAMPLES = """
\b
Examples:
  edgekd predict photo.jpg --checkpoint runs/20260101-120000-digits --peer 0
  edgekd predict pictures/ 'more/*.png' --checkpoint box --json
  edgekd predict --watch /srv/camera --checkpoint box --top 1
"""


@click.command(epilog=EXAMPLES)
@settings("train", only=("device", "threads"))
@click.argument("pictures", nargs=-1, metavar="[PICTURE|FOLDER|GLOB]...")
@checkpoint_option(required=True)
@peer_option
@which_option
@model_option
@click.option(
    "--top",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Number of classes to print, the likeliest first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout; with --watch one object on each line.")
@click.option("--csv", "table", type=PATH, metavar="FILE", help="Also write a table with one row for each picture.")
@click.option("--watch", type=PATH, metavar="FOLDER", help="Wait for new pictures in FOLDER and classify each one.")
@click.option(
    "--every",
    type=click.FloatRange(0.05, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between two scans of FOLDER.",
)
def command(
    config: Config,
    pictures: tuple[str, ...],
    checkpoint: Path,
    peer: int | None,
    which: str,
    model: str | None,
    top: int,
    as_json: bool,
    table: Path | None,
    watch: Path | None,
    every: float,
) -> None:
    """Classify pictures: print the likeliest classes with their probabilities (softmax at temperature 1).

    Folders are searched with their subfolders. Pictures that cannot be read are named and counted. The exit code is 0
    if at least one picture was read.
    """
    if not pictures and watch is None:
        raise ConfigError("name pictures, folders or patterns such as 'photos/*.jpg'; or a folder with --watch")
    if watch is not None and table is not None:
        raise ConfigError("--csv is written once all pictures are read, and --watch has no end: use --json > FILE")
    if table is not None:
        leave_no_empty_folder(table.parent)
        check_file(table)
    if watch is not None and not watch.is_dir():
        raise ConfigError(f"there is no folder {watch} to watch")
    from edgekd.data.arrivals import Arrivals, find_pictures, stamps

    arrivals = Arrivals(stamps(watch)) if watch else None  # before reading, so that no picture is missed
    files = find_pictures(pictures)
    import torch

    torch.set_num_threads(threads_here(config, lockstep=False))
    from edgekd.use.answers import answers
    from edgekd.use.predictor import Predictor
    from edgekd.use.trained import load_trained

    predictor = Predictor(load_trained(checkpoint, peer, which, model), config.train.device)
    found = answers(predictor, files, top)
    if arrivals is None or watch is None:
        _show_all(found, files, as_json, table)
        return
    try:
        with stoppable():
            say(f"watching {watch}; Ctrl-C ends it", err=True)
            for answer in itertools.chain(found, _arriving(predictor, watch, arrivals, top, every)):
                _show(answer, as_json)
    except KeyboardInterrupt:
        pass  # the only way to end it


def _show_all(found: Iterator[Any], files: Sequence[Path], as_json: bool, table: Path | None) -> None:
    from edgekd.cli.answers import as_csv, print_table
    from edgekd.cli.bars import reading
    from edgekd.cli.tables import plain_console
    from edgekd.files.atomic import write_atomically

    console = plain_console()
    at_end = as_json or console.is_terminal
    answered = []
    with reading(len(files)) as advance:
        for answer in found:
            answered.append(answer)
            advance(1)
            if answer.error is not None or not at_end:
                _show(answer, as_json=False)
    if as_json:
        content = [answer.to_mapping() for answer in answered]
        say_lines(json.dumps(content, indent=2))
    elif console.is_terminal:
        print_table([answer for answer in answered if answer.error is None], console)
    if table is not None:
        write_atomically(table, [as_csv(answered)])
    failed = sum(answer.error is not None for answer in answered)
    if failed == len(files):
        raise ConfigError(f"none of the {len(files)} pictures can be read")
    if failed:
        say(f"{failed} of {len(files)} pictures could not be read", err=True)


def _show(answer: Any, as_json: bool) -> None:
    """Print the answer for one picture; without `as_json`, that a picture cannot be read goes to stderr."""
    if as_json:
        say(json.dumps(answer.to_mapping()))
    else:
        say(answer.line(), err=answer.error is not None)


def _arriving(predictor: Any, folder: Path, arrivals: Any, top: int, every: float) -> Iterator[Any]:
    """Yield the answers for pictures that appear in `folder`, looking every `every` seconds, without end."""
    from edgekd.data.arrivals import stamps
    from edgekd.use.answers import answers

    trouble = ""
    while True:
        time.sleep(every)
        try:
            there = stamps(folder)
        except OSError as error:  # a network folder may come back
            if trouble != (trouble := error.strerror or str(error)):
                say(f"cannot read {folder}: {trouble}; trying again", err=True)
            continue
        trouble = ""
        for path, last in arrivals.look(there):
            for answer in answers(predictor, [path], top):
                if answer.error is None:
                    arrivals.done(path)
                if answer.error is None or last:
                    yield answer
