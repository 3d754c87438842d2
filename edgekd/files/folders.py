"""Which checkpoints and settings are in the folder of a peer or of a run. No file is opened."""

import contextlib
from pathlib import Path

from edgekd.errors import ConfigError

BEST = "best.safetensors"  # the checkpoint of the best evaluation, with --keep-best
CURRENT = "current"  # a symbolic link to the newest complete checkpoint
WHICH = ("newest", "best")  # which checkpoint of a folder to take


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, the latest step first, and the best one last, if there is one."""
    best = folder / BEST
    return [*numbered(folder), *([best] if best.is_file() else [])]


def numbered(folder: Path) -> list[Path]:
    """The checkpoints in `folder` with a step in their name, the latest step first."""
    found = [path for path in folder.glob("checkpoint-*.safetensors") if _step_of(path).isdecimal()]
    return sorted(found, key=lambda path: int(_step_of(path)), reverse=True)


def _step_of(path: Path) -> str:
    return path.stem.partition("-")[2]


def peer_folder(where: Path, peer: int | None) -> Path:
    """The folder with the checkpoints of a peer.

    Args:
        where: this folder itself, or the folder of a run.
        peer: the id of the peer; needed if the folder of a run holds several peers.

    Raises:
        ConfigError: there is no checkpoint, or there are several peers and `peer` is None.
    """
    if not where.is_dir():
        raise ConfigError(f"there is no file or folder {where}: give a run's folder, a peer's, or a checkpoint file")
    if checkpoints(where):
        return where
    peers = {int(path.name[5:]): path for path in where.glob("peer-*") if path.name[5:].isdecimal()}
    peers = {id: path for id, path in sorted(peers.items()) if checkpoints(path)}
    known = ", ".join(map(str, peers))
    if not peers:
        why = "; simulations write none" if (where / "summary.json").is_file() else ""
        raise ConfigError(f"no checkpoint in {where}: a peer writes them into its folder, the --out of `peer`{why}")
    if peer is None and len(peers) > 1:
        raise ConfigError(f"{where} holds the checkpoints of several peers: choose one with --peer, of {known}")
    if peer is not None and peer not in peers:
        raise ConfigError(f"{where} holds no checkpoint of peer {peer}; it has those of {known}")
    return peers[next(iter(peers)) if peer is None else peer]


def settings_file(where: Path, peer: int | None = None) -> Path | None:
    """The ``config.toml`` that belongs to a checkpoint: in its peer's folder, else in the run's folder; None: none.

    Args:
        where: the checkpoint, or the folder of its peer or of its run.
        peer: the id of the peer, if the folder of a run holds several.
    """
    places = [where if where.is_dir() else where.parent]
    if where.is_dir():
        with contextlib.suppress(ConfigError):  # the code that reads the checkpoint reports it
            places.insert(0, peer_folder(where, peer))
    if places[0].absolute().name.startswith("peer-"):
        places.append(places[0].absolute().parent)
    return next((file for place in places if (file := place / "config.toml").is_file()), None)
