"""Whether a checkpoint is of this peer."""

from pathlib import Path

from edgekd.contract import check_same, definition_before
from edgekd.errors import ConfigError
from edgekd.extensions import is_own_network
from edgekd.files.checkpoint import CheckpointInfo


def check_resumable(before: CheckpointInfo, ours: CheckpointInfo, run: Path) -> None:
    """See whether a checkpoint is of this network, of this data and of this peer.

    Args:
        before: of the checkpoint.
        ours: what this peer would write; its step, round, counts and accuracy do not matter.
        run: the folder of the checkpoint.

    Raises:
        ConfigError: it is another's; the message names each setting that differs.
    """
    # The functions of two networks of one's own may have other names: whether the weights fit is what counts.
    moved = is_own_network(before.model) and is_own_network(ours.model)
    for name in ("id", *(() if moved else ("model",)), "heads", "head_layers", "classes", "size"):
        if getattr(before, name) != getattr(ours, name):
            there, here = getattr(before, name), getattr(ours, name)
            raise ConfigError(f"the checkpoint's {name} is {there}, this peer's is {here}; choose another --out")
    check_same(definition_before(before.made_with, run), ours.made_with)
