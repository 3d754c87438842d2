"""The image sets that belong to a checkpoint: the evaluation set of its run, and the public set of its group."""

from pathlib import Path

from edgekd.config import Config
from edgekd.contract import check_same, data_definition, definition_before, evaluation_definition
from edgekd.data.datasets import load_evaluation, open_common
from edgekd.data.decoding import IN_PROCESS, Decoding
from edgekd.data.public import PublicSet
from edgekd.data.sources import Labelled
from edgekd.errors import ConfigError
from edgekd.files.runs import PUBLIC
from edgekd.paths import expanded
from edgekd.use.trained import Trained


def evaluation_set(trained: Trained, config: Config, how: Decoding = IN_PROCESS) -> Labelled:
    """Load the evaluation images of the checkpoint's own run, or those of ``--eval``.

    Args:
        trained: the network of the checkpoint.
        config: the settings of its run.
        how: how picture files are decoded.

    Raises:
        ConfigError: the data is missing, or the settings are not those of the checkpoint.
    """
    info, run = trained.info, trained.folder
    before = definition_before(info.made_with, run) if config.data.eval is None else {}
    check_same(before, data_definition(config), "Give the config.toml of its own run, or --eval folder:PATH")
    evaluation = load_evaluation(config.data, info.id, info.classes, info.size, config.data_seed, run, how)
    check_same(before, evaluation_definition(config, evaluation.images))
    return evaluation


def public_set(trained: Trained, config: Config, file: Path | None = None, how: Decoding = IN_PROCESS) -> PublicSet:
    """Load the public set of the group in which the network was trained.

    Args:
        trained: the network of the checkpoint.
        config: the settings of its run.
        file: the public file, if it is not the one in the settings.
        how: how picture files are decoded.

    Raises:
        ConfigError: it is missing, or belongs to another group.
    """
    public = PublicSet.load(file, how.watch_bytes) if file else _of_run(trained, config, how)
    expected, size = trained.public_sha256, public.images.shape[-1]
    if expected not in (None, public.sha256):
        where = file or "what the run's settings lead to"
        raise ConfigError(
            f"{where} is not the public set of this checkpoint, whose SHA-256 is {expected}: use --public"
        )
    if size != trained.size:
        raise ConfigError(f"the public set has images of {size} pixels, the network takes {trained.size}: use --public")
    return public


def _of_run(trained: Trained, config: Config, how: Decoding) -> PublicSet:
    if config.data.private is None:
        return open_common(config.data, config.data_seed, how).public()
    own, given = trained.folder / PUBLIC, config.data.public
    named = expanded(given) if given else own
    return PublicSet.load(own if own.is_file() and not named.is_file() else named, how.watch_bytes)
