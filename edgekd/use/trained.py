"""The trained network of a checkpoint, given by a run's folder, a peer's folder or a file."""

from dataclasses import dataclass
from importlib.metadata import version
from json import dumps
from pathlib import Path

import torch
from torch import Tensor, nn

from edgekd.config import ModelConfig
from edgekd.errors import ConfigError
from edgekd.extensions import OBJECT, Function, is_own_network, spelt
from edgekd.files.checkpoint import CheckpointInfo, Loaded, load_best, load_checkpoint, load_newest
from edgekd.files.folders import WHICH, peer_folder
from edgekd.learning.models import Classifier, make_model
from edgekd.learning.weights import misfit
from edgekd.printable import LONGEST_WHY, printable
from edgekd.seeds import seeded


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trained:
    """The part of a checkpoint that is needed to use its network."""

    info: CheckpointInfo
    file: Path  # the checkpoint file
    classifier: Classifier  # with all heads; on the CPU, in evaluation mode
    head: int  # index of the head whose answers count

    @property
    def folder(self) -> Path:
        """The peer's folder, which contains the checkpoint."""
        return self.file.parent

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the columns of predictions."""
        return self.info.classes

    @property
    def size(self) -> int:
        """The height and width of the input images, in pixels."""
        return self.info.size

    @property
    def public_sha256(self) -> str | None:
        """The SHA-256 of the group's public file; None in checkpoints of older versions, which did not store it."""
        found = self.info.made_with.get("public")
        return found if isinstance(found, str) else None

    def network(self) -> nn.Module:
        """The network in evaluation mode, with only the head whose answers count.

        It maps normalised images, float ``[N, 3, S, S]``, to logits ``[N, classes]``; see
        `edgekd.data.augment.normalise`.
        """
        return self.classifier.with_one_head(self.head)

    def metadata(self) -> dict[str, str]:
        """The metadata about the network for exported files; all values are text."""
        info, accuracy = self.info, self.info.accuracy
        about = {"classes": dumps(info.classes), "size": str(info.size), "model": info.model, "peer": str(info.id)}
        about |= {"step": str(info.step), "checkpoint": self.file.name, "edgekd_version": version("edgekd")}
        about["fitting"] = "RGB; resize the shorter side to `size` (bilinear, antialiased); crop the centre"
        if accuracy is not None and accuracy.step is not None:  # otherwise it is unknown which weights had it
            about |= accuracy_metadata(accuracy.overall, accuracy.samples, accuracy.step)
        if self.public_sha256 is not None:
            about["public_sha256"] = self.public_sha256
        return about


def accuracy_metadata(accuracy: float, samples: int, step: int) -> dict[str, str]:
    """The metadata about an accuracy for exported files: with the number of images and the step of the evaluation."""
    return {"accuracy": f"{accuracy:.6f}", "accuracy_samples": str(samples), "accuracy_step": str(step)}


def load_trained(where: Path, peer: int | None = None, which: str = "newest", model: Function | None = None) -> Trained:
    """The trained network of a checkpoint: of a file, or of the folder of a peer or of a run.

    Args:
        where: the folder or file.
        peer: the id of the peer; needed if a run's folder holds several.
        which: the checkpoint in a folder: "newest", the newest valid one; or "best".
        model: the network, or a list of networks as in ``--model``. It is needed if the network is a function of the
            user, whose code is then run. None: the checkpoint names the network.

    Raises:
        ConfigError: there is no valid checkpoint, it is from another version or network, there is no best one, the
            folder holds several peers and `peer` is None, or the network is a function of the user and `model` is None.
    """
    if which not in WHICH:
        raise ConfigError(f"which must be one of {', '.join(WHICH)}, got {which!r}")
    if not where.is_file():
        found = _in_folder(peer_folder(where, peer), which)
    elif which == "newest":
        found = _file(where)
    else:
        raise ConfigError(f"{where} is one checkpoint: --which {which} chooses among those of a folder")
    info, state, path = found
    if peer not in (None, info.id):
        raise ConfigError(f"the checkpoint in {where} is of peer {info.id}, not of peer {peer}: leave --peer out")
    classifier = _classifier(path.parent, info, state, model)
    return Trained(info=info, file=path, classifier=classifier, head=_answering(info, state))


def _file(path: Path) -> Loaded:
    if path.suffix == ".onnx":
        raise ConfigError(f"{path} is an exported file: run it with onnxruntime; here a checkpoint is needed")
    path = path.resolve() if path.is_symlink() else path  # first, since `current` soon points to another checkpoint
    return Loaded(*load_checkpoint(path), path)


def _in_folder(folder: Path, which: str) -> Loaded:
    if which == "best":
        if (best := load_best(folder)) is None:
            raise ConfigError(f"no best checkpoint in {folder}: `edgekd peer --keep-best` keeps it; use --which newest")
        return best
    if (newest := load_newest(folder)) is None:
        raise ConfigError(f"no sound checkpoint in {folder}: all that are there are damaged, or of another version")
    return newest


def _classifier(folder: Path, info: CheckpointInfo, state: dict[str, Tensor], given: Function | None) -> Classifier:
    if given is None and is_own_network(info.model):
        said = printable(info.model, LONGEST_WHY)
        how = "in Python, model=" if info.model.startswith(OBJECT) else f"--model {said} (in Python: model=)"
        raise ConfigError(
            f"the checkpoint in {folder} is of {said}, a network of one's own, and no code is run on a file's word: "
            f"name the network yourself, {how}"
        )
    name = info.model if given is None else ModelConfig(model=given).for_client(info.id)
    hidden = ModelConfig(heads=info.heads, head_layers=info.head_layers).hidden_layers()
    with seeded(0):  # its first weights are random, and replaced at once; peers of this process may draw meanwhile
        model = make_model(name, "none", len(info.classes), info.size, heads=info.heads, hidden=hidden)
    try:
        model.load_state_dict({name[6:]: tensor for name, tensor in state.items() if name.startswith("model.")})
    except RuntimeError as error:
        raise ConfigError(
            f"the checkpoint in {folder} does not fit {spelt(name)} as it is in this version: {misfit(error)}"
        ) from error
    model.eval()
    return model


def _answering(info: CheckpointInfo, state: dict[str, Tensor]) -> int:
    """The index of the head whose answers count: the last one, or head 0 in the first of two phases.

    In the first phase, only head 0 learns. The second phase begins with a frozen copy of the network, so it has begun
    when the network differs from this copy.
    """
    if info.heads == 1 or not info.made_with.get("two_phase"):
        return info.heads - 1
    frozen = {name[7:]: tensor for name, tensor in state.items() if name.startswith("frozen.")}
    moved = any(not torch.equal(state[f"model.{name}"], tensor) for name, tensor in frozen.items())
    return info.heads - 1 if moved else 0
