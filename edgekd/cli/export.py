"""``edgekd export``: writes a trained network as one file for other programs."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import click

from edgekd.cli.bars import decoding
from edgekd.cli.leftovers import leave_no_empty_folder
from edgekd.cli.lines import say, say_lines
from edgekd.cli.options import PATH, OneOf, checkpoint_option, model_option, peer_option, settings, which_option
from edgekd.config import Config
from edgekd.errors import ConfigError
from edgekd.files.folders import BEST, settings_file
from edgekd.files.writable import check_file
from edgekd.learning.computing import threads_here

log = logging.getLogger("edgekd")

EXAMPLES = """
\b
Examples:
  edgekd export --checkpoint runs/20260101-120000-digits --peer 0 -o model.onnx
  edgekd export --checkpoint box --quantise int8 -o small.onnx
  edgekd export --checkpoint box -o weights.safetensors
"""
FORMATS = ("onnx", "safetensors")


@click.command(epilog=EXAMPLES)
@settings("data", "train", only=("eval", "threads"), path_of="checkpoint")
@checkpoint_option(required=True)
@peer_option
@which_option
@model_option
@click.option("-o", "--out", type=PATH, metavar="FILE", required=True, help="File to write.")
@click.option("--format", "kind", type=OneOf(FORMATS), help="Format of FILE; default: by its suffix, else onnx.")
@click.option("--quantise", "--quantize", type=OneOf(["int8"]), help="Quantise to 8-bit integers, for onnxruntime.")
@click.option(
    "--precision", type=OneOf(["float32", "float16"]), help="Floating-point type in the file.  [default: float32]"
)
@click.option(
    "--public",
    type=PATH,
    metavar="FILE",
    help="The group's public file: its images check the result and calibrate int8.  [default: the run's]",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written, and its accuracy, as JSON on stdout.")
def command(
    config: Config,
    checkpoint: Path,
    peer: int | None,
    which: str,
    model: str | None,
    out: Path,
    kind: str | None,
    quantise: str | None,
    precision: str | None,
    public: Path | None,
    as_json: bool,
) -> None:
    """Write the network of a checkpoint as one file, for use without edgekd.

    The ONNX file takes images, uint8 [N, 3, S, S], RGB, and returns probabilities and logits, float32 [N, classes].
    Before FILE is written, onnxruntime runs the network and the command compares the outputs with PyTorch's.
    """
    if quantise and precision:
        raise ConfigError("--quantise and --precision exclude one another: the first is for 8 bits, the other for more")
    numbers = quantise or precision or "float32"
    kind = _kind(out, kind)
    if kind == "safetensors" and numbers != "float32":
        raise ConfigError(f"safetensors holds the weights as they were trained: {numbers} is for --format onnx")
    leave_no_empty_folder(out.parent)
    check_file(out)
    import torch

    torch.set_num_threads(threads_here(config, lockstep=False))
    from edgekd.use.export import export_onnx, export_safetensors
    from edgekd.use.predictor import Predictor
    from edgekd.use.runtime import check_installed
    from edgekd.use.trained import load_trained

    if kind == "onnx":
        check_installed()
    predictor = Predictor(load_trained(checkpoint, peer, which, model), "cpu")
    if kind == "safetensors":
        size, metadata = export_safetensors(predictor, out)
        _say_written(predictor, out, size, as_json, metadata=metadata)
        return
    known = bool(click.get_current_context().params["config"] or settings_file(checkpoint, peer))
    images = _images(predictor, config, public, known, needed=numbers == "int8")
    evaluation = _evaluation(predictor, config, known) if numbers != "float32" else None
    exported = export_onnx(predictor, out, numbers, images, evaluation)
    for warning in exported.reduced.warnings(numbers) if exported.reduced else ():
        log.warning(warning)
    _say_exported(predictor, out, exported, as_json)


def _kind(out: Path, kind: str | None) -> str:
    """The format to write: that of ``--format``, else the file's suffix, else "onnx".

    Raises:
        ConfigError: the suffix contradicts ``--format``; or it is unknown, and no format is given.
    """
    suffix = out.suffix.lower().removeprefix(".")
    if kind is None and suffix and suffix not in FORMATS:
        raise ConfigError(f"{out} ends in .{suffix}: end it in .onnx or .safetensors, or say which it is by --format")
    if kind is not None and suffix in FORMATS and suffix != kind:
        raise ConfigError(f"{out} ends in .{suffix}, and --format is {kind}: leave --format out, or rename the file")
    return kind or suffix or "onnx"


def _images(predictor: Any, config: Config, file: Path | None, known: bool, *, needed: bool) -> Any:
    """The images of the public set, or noise if it is not available and not `needed`.

    Args:
        predictor: of the checkpoint.
        config: its settings.
        file: the public file; None: that of the settings.
        known: whether the settings are the checkpoint's, or given by the user.
        needed: whether noise is no substitute.

    Raises:
        ConfigError: the public set is not available, and it is `needed` or the user has named the file.
    """
    from edgekd.use.export import noise
    from edgekd.use.sets import public_set

    try:
        if not (known or file):
            raise ConfigError("no config.toml beside the checkpoint says what the public set is")
        return public_set(predictor.trained, config, file, decoding()).images
    except ConfigError as error:
        if needed:
            raise ConfigError(f"int8 needs the public set, to find ranges with: {error}; use --public FILE") from error
        if file:
            raise
        log.warning("checked on noise, since the public set is not there: %s", error)
        return noise(predictor.size)


def _evaluation(predictor: Any, config: Config, known: bool) -> Any:
    """The evaluation set; None: it is not available, which is logged."""
    from edgekd.use.sets import evaluation_set

    try:
        if not known and config.data.eval is None:
            raise ConfigError("no config.toml beside the checkpoint says what it is; use --eval folder:PATH")
        return evaluation_set(predictor.trained, config, decoding())
    except ConfigError as error:
        log.warning("the accuracy is not measured, since the evaluation set is not there: %s", error)
        return None


def _say_written(predictor: Any, out: Path, size: int, as_json: bool, **more: Any) -> None:
    from edgekd.protocol.amounts import bytes_text

    if as_json:
        content = {"file": str(out), "bytes": size, **more}
        say_lines(json.dumps(content, indent=2))
        return
    info = predictor.trained.info
    network = f"{info.model} of peer {info.id} at step {info.step}"
    if predictor.trained.file.name == BEST:
        network += ", its best"
    say(f"{out}: {bytes_text(size)}, {network}, {len(info.classes)} classes, images of {info.size} px")


def _say_exported(predictor: Any, out: Path, exported: Any, as_json: bool) -> None:
    from edgekd.cli.tables import wide_console
    from edgekd.protocol.amounts import bytes_text

    reduced, found = exported.reduced, exported.difference
    more = {name: value for name, value in dataclasses.asdict(exported).items() if name != "bytes"}
    _say_written(predictor, out, exported.bytes, as_json, **more)
    if as_json:
        return
    say(
        f"largest difference from the network on {found.images} images, by onnxruntime: {found.probabilities:.1e} of a "
        f"probability, {found.logits:.1e} of a logit; the same class for {found.same_answers:.1%}"
    )
    if reduced is None:
        return
    from edgekd.cli.columns import Column, fitted

    columns = [Column("numbers", justify="left"), Column("accuracy"), Column("latency"), Column("size")]
    whole = round(exported.bytes / reduced.size_ratio)
    accuracies = ["-" if a is None else f"{a:.3f}" for a in (reduced.accuracy_before, reduced.accuracy_after)]
    rows = [
        ["float32", accuracies[0], "1.00", bytes_text(whole)],
        [exported.precision, accuracies[1], f"{reduced.latency_ratio:.2f}", bytes_text(exported.bytes)],
    ]
    console = wide_console()
    console.print(fitted(columns, [rows], console))
    samples = f"accuracy on {reduced.evaluation_samples} evaluation images; " if reduced.evaluation_samples else ""
    say(f"{samples}latency of one image on this machine against float32: the median of runs in pairs")
