"""``edgekd eval``: the accuracy of a checkpoint."""

import json
from pathlib import Path

import click

from edgekd.cli.lines import say
from edgekd.cli.options import PATH, beside, settings
from edgekd.config import Config, ModelConfig
from edgekd.errors import ConfigError

EXAMPLES = """
\b
Examples:
  edgekd eval --checkpoint runs/20260101-120000-digits/peer-0
  edgekd eval --checkpoint box/checkpoint-00000120.safetensors --eval folder:pictures
"""


@click.command(epilog=EXAMPLES)
@settings("data", "train", only=("eval", "device", "threads"), path_of="checkpoint")
@click.option(
    "--checkpoint",
    type=PATH,
    required=True,
    metavar="DIR|FILE",
    help="A checkpoint, or a peer's folder: its newest.",
)
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout.")
def command(config: Config, checkpoint: Path, as_json: bool) -> None:
    """Evaluate a checkpoint on the evaluation set of its own run, or on --eval folder:PATH."""
    given = click.get_current_context().params["config"]
    if not given and config.data.eval is None and not beside(checkpoint):
        raise ConfigError(
            f"no config.toml beside {checkpoint} says what to evaluate on: use --eval folder:PATH or --config"
        )
    import torch

    torch.set_num_threads(config.train.threads)
    from edgekd.contract import check_same, data_definition, definition_before, evaluation_definition
    from edgekd.data.augment import normalise
    from edgekd.data.datasets import load_evaluation
    from edgekd.files.checkpoint import load_checkpoint, load_newest
    from edgekd.files.summary import standard_error
    from edgekd.learning.devices import choose_device
    from edgekd.learning.evaluation import evaluate
    from edgekd.learning.models import model_from_config

    found = load_newest(checkpoint) if checkpoint.is_dir() else load_checkpoint(checkpoint)
    if found is None:
        raise ConfigError(f"no sound checkpoint in {checkpoint}: a peer writes them into its --out")
    info, state = found
    run = checkpoint if checkpoint.is_dir() else checkpoint.parent
    before = definition_before(info.made_with, run) if config.data.eval is None else {}
    check_same(before, data_definition(config), "Give the config.toml of its own run, or --eval folder:PATH")
    evaluation = load_evaluation(config.data, info.id, info.classes, info.size, seed=config.data_seed, run=run)
    check_same(before, evaluation_definition(config, evaluation.images))
    device = choose_device(config.train.device)
    network = ModelConfig(model=info.model, heads=info.heads, head_layers=info.head_layers)
    model = model_from_config(network, info.id, weights="none", classes=len(info.classes), size=info.size)
    model.load_state_dict({name[6:]: tensor for name, tensor in state.items() if name.startswith("model.")})
    model.to(device).eval()
    shard = torch.ones(len(info.classes), dtype=torch.int64)
    reached = evaluate(lambda images: model(normalise(images.to(device))), evaluation, shard=shard)
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
