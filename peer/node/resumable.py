"""The check whether a peer may resume from a checkpoint."""

from pathlib import Path

from edgekd.contract import check_same, definition_before
from edgekd.errors import ConfigError
from edgekd.extensions import is_own_network
from edgekd.files.checkpoint import CheckpointInfo


def check_resumable(before: CheckpointInfo, ours: CheckpointInfo, run: Path) -> None:
    """Check that a checkpoint was made by this peer, with the same network and the same data.

    Args:
        before: the description in the checkpoint.
        ours: the description that this peer would write; its step, round, counts and accuracy do not matter.
        run: the folder of the checkpoint.

    Raises:
        ConfigError: something differs; the message names it.
    """
    # The file or function of a user's own network may be renamed. It is enough that the weights fit.
    moved = is_own_network(before.model) and is_own_network(ours.model)
    for name in ("id", *(() if moved else ("model",)), "heads", "head_layers", "classes", "size"):
        if getattr(before, name) != getattr(ours, name):
            there, here = getattr(before, name), getattr(ours, name)
            raise ConfigError(f"the checkpoint's {name} is {there}, this peer's is {here}; choose another --out")
    check_same(definition_before(before.made_with, run), ours.made_with)
