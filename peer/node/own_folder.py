"""What a peer finds in the folder that it goes on in, and what it keeps there."""

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
    """With the public file of the folder where the one of its settings has gone, as in a folder that was moved."""
    given, own = config.data.public, folder / PUBLIC
    if config.data.private is None or (given and (expanded(given).is_file() or Path(given).name != PUBLIC)):
        return config
    public = str(own.absolute()) if own.is_file() else None  # None: it is fetched again
    return dataclasses.replace(config, data=dataclasses.replace(config.data, public=public))


def write_settings(config: Config, held_out: "HeldOut | None", folder: Path, resume: bool) -> None:
    """Write what the folder keeps of the settings, once all has been checked; tell what has changed since before."""
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
    """Restore the node from the newest sound checkpoint, if there is one."""
    if node.resume():
        step, steps = node.learner.step, node.config.steps
        log.info("resumed at step %d", step)
        if 0 < steps < step:
            advice = f"nothing is left to train; --steps counts from the first start: give more than {step} to go on"
            log.warning("--steps is %d, and %d are done: %s", steps, step, advice)
    else:
        log.info("no checkpoint in %s: starting anew", folder)
