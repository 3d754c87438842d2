"""The folder of a peer at its start: the public file and the checkpoint in it, and the settings that are written."""

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.config import Config
from edgekd.files.runs import PUBLIC
from edgekd.paths import expanded

if TYPE_CHECKING:
    from edgekd.data.held_out import HeldOut
    from peer.node.node import Node

log = logging.getLogger("edgekd")


def with_public_file(config: Config, folder: Path) -> Config:
    """The settings with the public file in `folder`, if the one that they name is gone, as after moving the folder."""
    given, own = config.data.public, folder / PUBLIC
    if config.data.private is None or (given and (expanded(given).is_file() or Path(given).name != PUBLIC)):
        return config
    public = str(own.absolute()) if own.is_file() else None  # None: it is fetched again
    return dataclasses.replace(config, data=dataclasses.replace(config.data, public=public))


def write_settings(config: Config, held_out: "HeldOut | None", folder: Path, resume: bool) -> None:
    """Write the settings and the list of held-out pictures into the folder; log what has changed since the last start.

    Args:
        config: the settings.
        held_out: the held-out pictures; None: the peer has no pictures of its own.
        folder: of the peer.
        resume: whether the peer continues. Then a folder that cannot be written only causes a warning.

    Raises:
        OSError: the folder cannot be written, and `resume` is false.
    """
    from edgekd.files.runs import changed_settings, write_config

    if resume and (changes := changed_settings(folder, config)):
        log.info("going on with other settings than before: %s", ", ".join(changes))
    try:
        write_config(folder, config)
        if held_out is not None:
            held_out.save(folder)
    except OSError as error:
        if not resume:
            raise
        log.warning("cannot write to %s: %s; its settings stay as they are", folder, error.strerror)


def resume_from(node: "Node", folder: Path) -> None:
    """Restore the node from the newest valid checkpoint, if there is one, and log its step."""
    if node.resume():
        step, steps = node.learner.step, node.config.steps
        log.info("resumed at step %d", step)
        if 0 < steps < step:
            advice = f"nothing is left to train; --steps counts from the first start: give more than {step} to go on"
            log.warning("--steps is %d, and %d are done: %s", steps, step, advice)
    else:
        log.info("no checkpoint in %s: starting anew", folder)
