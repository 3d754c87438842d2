"""``edgekd eval``: measures how well a checkpoint classifies, class by class."""

import json
from pathlib import Path
from typing import Any

import click

from edgekd.cli.bars import classifying, decoding
from edgekd.cli.leftovers import leave_no_empty_folder
from edgekd.cli.lines import say
from edgekd.cli.options import PATH, checkpoint_option, model_option, peer_option, settings, which_option
from edgekd.config import Config
from edgekd.errors import ConfigError
from edgekd.extensions import spelt
from edgekd.files.folders import BEST, settings_file
from edgekd.files.writable import check_file
from edgekd.learning.computing import threads_here

EXAMPLES = """
\b
Examples:
  edgekd eval --checkpoint runs/20260101-120000-digits/peer-0
  edgekd eval --checkpoint runs/20260101-120000-digits --peer 1
  edgekd eval --checkpoint box --which best
  edgekd eval --checkpoint box/checkpoint-00000120.safetensors --eval folder:pictures --html page.html
  edgekd eval --counts box/evaluation.json --html page.html
"""


@click.command(epilog=EXAMPLES)
@settings("data", "train", only=("eval", "cache", "device", "threads"), path_of="checkpoint")
@checkpoint_option(required=False)
@click.option(
    "--counts",
    type=PATH,
    metavar="DIR|FILE",
    help="Use the counts in a peer's evaluation.json instead of a checkpoint; needs no network and no pictures.",
)
@peer_option
@which_option
@model_option
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Largest k of the top-k accuracy.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@click.option(
    "--html",
    "page",
    type=PATH,
    metavar="FILE",
    help="Also write the result as a page: one file that loads nothing else.",
)
def command(
    config: Config,
    checkpoint: Path | None,
    counts: Path | None,
    peer: int | None,
    which: str,
    model: str | None,
    top: int,
    as_json: bool,
    page: Path | None,
) -> None:
    """Evaluate a checkpoint on the evaluation set of its own run, or on --eval folder:PATH.

    For each class it prints precision, recall, F1 and the class with which it is confused most often. The page of
    --html shows the confusion matrix, and the mistakes with the highest probabilities, with their pictures.
    """
    if (checkpoint is None) == (counts is None):
        raise ConfigError("give either --checkpoint, or the --counts that a peer has written: its evaluation.json")
    if page is not None:
        leave_no_empty_folder(page.parent)
        check_file(page)
    if counts is not None:
        from edgekd.use.judgement import judge_counts

        judged, evaluation, where = judge_counts(counts), None, "what it was evaluated on"
    else:
        assert checkpoint is not None
        judged, evaluation, where = _judge(config, checkpoint, peer, which, model, top)
    if page is not None:
        from edgekd.files.atomic import write_atomically
        from edgekd.lab.report.checkpoint_page import checkpoint_page

        content = checkpoint_page(judged, evaluation, where)
        write_atomically(page, [content.encode(errors="backslashreplace")])
    if as_json:
        say(json.dumps(judged.to_mapping()))
    else:
        _print(judged)
        if page is not None:
            say(f"page: {page}")


def _judge(
    config: Config, checkpoint: Path, peer: int | None, which: str, model: str | None, top: int
) -> tuple[Any, Any, str]:
    """Judge a checkpoint; return the judgement, the images that it was judged on, and a name for these images."""
    import torch

    torch.set_num_threads(threads_here(config, lockstep=False))
    from edgekd.files.runs import data_name
    from edgekd.learning.devices import choose_device
    from edgekd.use.judgement import judge
    from edgekd.use.sets import evaluation_set
    from edgekd.use.trained import load_trained

    trained = load_trained(checkpoint, peer, which, model)
    given = click.get_current_context().params["config"]
    if not given and config.data.eval is None and not settings_file(checkpoint, peer):
        raise ConfigError(
            f"no config.toml beside {checkpoint} says what to evaluate on: use --eval folder:PATH or --config"
        )
    evaluation = evaluation_set(trained, config, decoding())
    judged = judge(trained, evaluation, config, choose_device(config.train.device), top=top, watch=classifying)
    where = Path(spelt(config.data.eval)).name if config.data.eval else f"what was held out of {data_name(config)}"
    return judged, evaluation, where


def _print(judged: Any) -> None:
    from edgekd.cli.judged import print_judgement
    from edgekd.cli.tables import wide_console
    from edgekd.files.summary import with_error

    found = judged.scores
    reached = with_error(found.accuracy, found.samples)
    best = ", its best" if judged.checkpoint == BEST else ""
    text = f"peer {judged.id} at step {judged.step}{best}: accuracy {reached} on {found.samples} images"
    if len(judged.heads) > 1:
        text += f" (each head: {', '.join(f'{each.accuracy:.3f}' for each in judged.heads)})"
    say(text)
    print_judgement(judged, wide_console())
