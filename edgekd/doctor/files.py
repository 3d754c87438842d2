"""Checks of a peer's files: its public file and its pictures."""

import dataclasses
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import torch
from torch import Tensor

from edgekd.config import Config, DataConfig
from edgekd.data.datasets import PeerData, folder_of, load_peer_data, own_pictures, own_public
from edgekd.data.decoding import IN_PROCESS, Decoding
from edgekd.data.held_out import pixel_digests
from edgekd.data.public import PublicSet, make_public
from edgekd.data.sources import SIZES, data_root, folder, unknown_class
from edgekd.doctor.check import Check, collected_warnings, examine_and_return, with_warnings
from edgekd.errors import ConfigError
from edgekd.files.folders import checkpoints

FEW = 20  # evaluation pictures; an accuracy on fewer says little, since its standard error can be above 0.11
DOWNLOADED = {"cifar10": "cifar-10-batches-py", "sun397": "SUN397"}  # torchvision's folders for data sets


def public_file(config: Config, how: Decoding, *, joins: bool) -> tuple[Check, PublicSet | None]:
    """Check the group's public file on a box that has its own pictures.

    Args:
        config: all settings.
        how: is told how much of the file was read.
        joins: whether the peer has neighbours from which it can fetch the file.

    Returns:
        The check, and the public set, or None if there is none.
    """
    name, data = "public file", config.data
    if data.private is None:
        return Check(name, None, f"none is needed: the public images are those of --data {data.data}"), None
    if data.public is None and joins:
        return Check(name, None, "none is named: `edgekd peer` fetches it from a neighbour at its start"), None

    def look() -> tuple[str, PublicSet]:
        public = own_public(data, how)
        rows = public.rows(config.public_batch)
        count, size = len(public), public.images.shape[-1]
        about = f"{count} images of {size} px, batches of {rows}, {len(public.classes)} classes"
        return f"{about}, sha256 {public.sha256}: it must be the same on every box", public

    return examine_and_return(name, look)


def pictures(
    config: Config, public: PublicSet | None, id: int, out: Path | None, how: Decoding = IN_PROCESS
) -> Generator[Check, None, PeerData | None]:
    """Check the pictures of peer `id`: which cannot be read, which do not fit, and how many there are for what.

    Args:
        config: all settings.
        public: the group's public set; None: it is not known yet which classes the group has.
        id: the peer's id.
        out: the peer's folder, where an earlier start has noted what it holds out.
        how: how picture files are decoded.

    Returns:
        All data of the peer, with the group's public set; None: a part of it is not known.
    """
    data = config.data
    if data.private is None:
        check, common = _common(data, id, config.data_seed, how)
        yield check
        return common
    run = out if out is not None and checkpoints(out) else None
    unknown = _unknown_classes(data, public)

    def look() -> tuple[str, PeerData]:
        shared = public or _stand_in(data)
        # A folder that is not a class is left out, so that the other classes are checked, too.
        found = own_pictures(data, shared, id, config.data_seed, run, how, strict=False)
        return _split(found, public is not None), found

    check, found = examine_and_return("pictures", look, said=unknown)
    if found is not None and (few := _few(found, config.batch)):
        check = dataclasses.replace(check, ok=None, message=with_warnings(check.message, few))
    if unknown is not None:
        check = Check(check.name, False, f"{unknown}; apart from that {check.message}")
    yield check
    if found is None or public is None:
        return None
    yield duplicates(found.private.images, found.evaluation.images, public)
    return found


def duplicates(private: Tensor, evaluation: Tensor, public: PublicSet) -> Check:
    """Check whether pictures of this box are also in the public file; they are compared by their pixels.

    Args:
        private: the images to train on, uint8 ``[N, 3, S, S]``.
        evaluation: the images to evaluate on, uint8 ``[M, 3, S, S]``.
        public: the public set, with images of the same S.
    """
    shared = {*pixel_digests(public.images)}
    own = [*pixel_digests(private), *pixel_digests(evaluation)]
    count = sum(digest in shared for digest in own)
    if not count:
        return Check("duplicates", True, "no picture of this box is in the public file")
    why = "every box of the group holds them, so they are not private"
    return Check(
        "duplicates",
        None,
        f"{count} of this box's {len(own)} pictures are in the public file, too: {why}; take them out",
    )


def _common(data: DataConfig, id: int, seed: int, how: Decoding) -> tuple[Check, PeerData | None]:
    """A peer's shard of a common data set, with the public set."""
    name = DOWNLOADED.get(data.kind)
    if name is not None and not (data_root() / name).is_dir():
        return Check("pictures", None, f"{data.data} is not in {data_root()} yet: it is downloaded at the start"), None

    def look() -> tuple[str, PeerData]:
        found = load_peer_data(data, id, seed, how=how)
        counts = f"{len(found.private.labels)} to train on, {len(found.evaluation.labels)} to evaluate on"
        return f"shard {id} of {data.clients} of {data.data}: {counts}, {len(found.public)} public", found

    return examine_and_return("pictures", look)


def _unknown_classes(data: DataConfig, public: PublicSet | None) -> str | None:
    """The message about subfolders that are not classes; None: there are none, they are left out, or it is unknown."""
    if public is None or data.private is None or data.rescan is not None:
        return None
    root = folder_of(data.private)
    try:
        with collected_warnings():  # these warnings appear when the pictures are read
            names = folder(root, public.images.shape[-1]).classes
    except (ConfigError, OSError):  # this error appears then, too
        return None
    unknown = [name for name in names if name not in public.classes]
    return unknown_class(root, unknown, public.classes) if unknown else None


def _stand_in(data: DataConfig) -> PublicSet:
    """A public set of two black images, with the classes of the private folder."""
    assert data.private is not None  # the caller has checked it
    size = data.size or SIZES["folder"]
    with collected_warnings():
        names = folder(folder_of(data.private), size).classes
    return make_public(
        torch.zeros(2, 3, size, size, dtype=torch.uint8),
        names if len(names) > 1 else (*names, f"no {names[0]}"),
        "none",
    )


def _split(found: PeerData, group: bool) -> str:
    """The message about what a start would train and evaluate on.

    `group` tells whether the group's classes are known.
    """
    counts = Counter(found.private.labels.tolist())
    each = ", ".join(f"{found.classes[label]} {count}" for label, count in sorted(counts.items()))
    known = f"; {len(counts)} of the group's {len(found.classes)} classes" if group else ""
    return f"{len(found.private.labels)} to train on ({each}), {len(found.evaluation.labels)} to evaluate on{known}"


def _few(found: PeerData, batch: int) -> list[str]:
    """Warnings about too few pictures to train on or to evaluate on."""
    trained, evaluated = len(found.private.labels), len(found.evaluation.labels)
    few = [f"{trained} to train on are fewer than a batch of {batch}: add some"] if trained < batch else []
    if evaluated < FEW:
        few.append(f"an accuracy on {evaluated} pictures says little: add some, or give --eval folder:PATH")
    return few
