"""The check of the checkpoint from which a peer would resume."""

import dataclasses
from pathlib import Path

from edgekd.config import Config
from edgekd.contract import definition, settings_definition
from edgekd.data.datasets import PeerData
from edgekd.doctor.check import Check, examine
from edgekd.extensions import spelt
from edgekd.files.checkpoint import load_newest
from peer.node.resumable import check_resumable


def checkpoint(config: Config, id: int, data: PeerData | None, run: Path) -> Check:
    """Check that peer `id` may resume with these settings from the newest valid checkpoint in its folder.

    Args:
        config: all settings.
        id: of the peer.
        data: what the peer would train and evaluate on; None: unknown, so it is not compared.
        run: the folder of ``--out``.
    """
    name = "checkpoint"
    if config.data.private is not None and config.data.public is None:
        return Check(name, None, "not compared: the group gives the public file and its settings at the start")

    def look() -> str:
        found = load_newest(run)
        if found is None:
            return f"none in {run}: the peer starts anew"
        model = config.model
        ours = dataclasses.replace(
            found.info,
            id=id,
            model=spelt(model.for_client(id)),
            heads=model.heads,
            head_layers=model.head_layers,
            made_with=settings_definition(config),
        )
        if data is not None:
            size = data.evaluation.images.shape[-1]
            ours = dataclasses.replace(ours, classes=data.classes, size=size, made_with=definition(data, config))
        check_resumable(found.info, ours, run)
        said = f"{found.path}, of step {found.info.step}, was made with these settings"
        return f"{said} and this data" if data is not None else f"{said}; the data was not compared"

    return examine(name, look)
