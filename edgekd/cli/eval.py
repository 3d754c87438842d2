"""``edgekd eval``: the accuracy of a checkpoint."""

import json
from pathlib import Path

import click

from edgekd.cli.lines import say
from edgekd.cli.options import PATH, beside, settings
from edgekd.config import Config
from edgekd.errors import ConfigError

EXAMPLES = """
\b
Examples:
  edgekd eval --checkpoint runs/20260101-120000-digits/peer-0
  edgekd eval --checkpoint runs/20260101-120000-digits --peer 1
  edgekd eval --checkpoint box/checkpoint-00000120.safetensors --eval folder:pictures
"""


@click.command(epilog=EXAMPLES)
@settings("data", "train", only=("eval", "device", "threads"), path_of="checkpoint")
@click.option(
    "--checkpoint",
    type=PATH,
    required=True,
    metavar="RUN|DIR|FILE",
    help="A checkpoint, or the folder of a peer or a run: its newest.",
)
@click.option("--peer", type=click.IntRange(0), metavar="ID", help="Which peer, where a run's folder holds several.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout.")
def command(config: Config, checkpoint: Path, peer: int | None, as_json: bool) -> None:
    """Evaluate a checkpoint on the evaluation set of its own run, or on --eval folder:PATH."""
    import torch

    torch.set_num_threads(config.train.threads)
    from edgekd.data.augment import normalise
    from edgekd.files.summary import standard_error
    from edgekd.learning.devices import choose_device
    from edgekd.learning.evaluation import evaluate
    from edgekd.use.sets import evaluation_set
    from edgekd.use.trained import load_trained

    trained = load_trained(checkpoint, peer)
    given = click.get_current_context().params["config"]
    if not given and config.data.eval is None and not beside(checkpoint):
        raise ConfigError(
            f"no config.toml beside {checkpoint} says what to evaluate on: use --eval folder:PATH or --config"
        )
    evaluation = evaluation_set(trained, config)
    device = choose_device(config.train.device)
    info, model = trained.info, trained.classifier.to(device)
    shard = torch.ones(len(info.classes), dtype=torch.int64)
    reached = evaluate(lambda images: model(normalise(images.to(device))), evaluation, shard=shard, head=trained.head)
    assert reached is not None  # nobody stops it
    samples = len(evaluation.labels)
    result = {
        "id": info.id,
        "step": info.step,
        "accuracy": reached.overall,
        "head_accuracies": reached.heads,
        "evaluation_samples": samples,
    }
    error = standard_error(reached.overall, samples)
    text = f"peer {info.id} at step {info.step}: accuracy {reached.overall:.3f} ± {error:.3f} on {samples} images"
    if info.heads > 1:
        text += f" (each head: {', '.join(f'{each:.3f}' for each in reached.heads)})"
    say(json.dumps(result) if as_json else text)
