"""Which of a box's own pictures are held out for evaluation.

Pictures are recognised by their pixels, not by their names. So a picture stays held out, or stays in training, when
others are added, removed or renamed, and when a program rewrites its metadata. A picture that exists twice is on one
side only. The run folder keeps the list, which only grows.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from edgekd.data.sources import Labelled
from edgekd.data.splits import permutation
from edgekd.errors import ConfigError
from edgekd.files.atomic import write_atomically
from edgekd.seeds import derive

log = logging.getLogger("edgekd")

FILE = "held-out.json"  # in the run folder
SHARE = 10  # one picture in so many is held out


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """The pictures that a run has held out so far, and the rule for pictures that it has not seen yet."""

    digests: frozenset[str]  # from `pixel_digests`
    cut: str  # a new picture is held out if its `_rank` is at most this; "": no new picture is held out
    trained: frozenset[str] = frozenset()  # pictures up to the cut that are not new: trained on from the start

    @classmethod
    def load(cls, folder: Path) -> "HeldOut | None":
        """Read what the run in `folder` has held out; None: there is no such file.

        Raises:
            ConfigError: the file is damaged.
        """
        file = folder / FILE
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            held, cut = frozenset(map(str, content["held_out"])), str(content["cut"])
            return cls(digests=held, cut=cut, trained=frozenset(map(str, content.get("trained", ()))))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigError(
                f"cannot read {file}, which says what was held out for evaluation ({error}); use --eval folder:PATH"
            ) from error

    def save(self, folder: Path) -> None:
        """Write the file atomically.

        Raises:
            OSError: it cannot be written.
        """
        content = {"held_out": sorted(self.digests), "cut": self.cut, "trained": sorted(self.trained)}
        write_atomically(folder / FILE, [(json.dumps(content, indent=1) + "\n").encode()])


NOTHING = HeldOut(digests=frozenset(), cut="")  # used if --eval names other pictures


def pixel_digests(images: Tensor) -> list[str]:
    """A digest of the pixels of each image, uint8 ``[N, 3, S, S]``: 32 hexadecimal digits each."""
    return [hashlib.blake2b(image.contiguous().numpy(), digest_size=16).hexdigest() for image in images]


def set_digest(images: Tensor) -> str:
    """The SHA-256 of a set of images, uint8 ``[N, 3, S, S]``, in hexadecimal digits; their order has no effect."""
    return hashlib.sha256("".join(sorted(pixel_digests(images))).encode()).hexdigest()


def choose(digests: Sequence[str], seed: int) -> HeldOut:
    """Choose what is held out: a tenth of the different pictures, at least one, by `seed`.

    The result also holds the rule by which each later picture is held out or not.

    Raises:
        ConfigError: there are fewer than two different pictures.
    """
    different = sorted({*digests}, key=lambda digest: _rank(digest, seed))
    if len(different) < 2:
        raise ConfigError(
            f"{len(different)} private picture is too few to hold some out for evaluation; use --eval folder:PATH"
        )
    count = max(1, len(different) // SHARE)
    cut = f"{2**64 // SHARE:016x}"
    trained = (digest for digest in different[count:] if _rank(digest, seed) <= cut)
    return HeldOut(digests=frozenset(different[:count]), cut=cut, trained=frozenset(trained))


def by_position(digests: Sequence[str], seed: int, run: Path) -> HeldOut:
    """What older versions, which kept no list, held out: a tenth of the sorted pictures, by their positions."""
    log.warning(
        "%s was made before edgekd noted which pictures are held out. The tenth is taken as it was then, which is "
        "right if no picture was added, removed or renamed; else use --eval folder:PATH",
        run,
    )
    order = permutation(len(digests), seed)[: max(1, len(digests) // SHARE)]
    return HeldOut(digests=frozenset(digests[place] for place in order), cut="")


def own_seed(seed: int, id: int) -> int:
    """The seed by which peer `id` chooses pictures to hold out; `seed` is that of the data."""
    return derive(seed, "peer", id, "held-out")


def grown(held: HeldOut, digests: Sequence[str], seed: int) -> HeldOut:
    """Add those of these pictures that are new and must be held out by the rule of `held`."""
    new = {digest for digest in digests if held.cut and _rank(digest, seed) <= held.cut} - held.trained
    return replace(held, digests=held.digests | new)


def divide(images: Labelled, digests: Sequence[str], held: HeldOut) -> tuple[Labelled, Labelled]:
    """Divide images into those to train on and those held out, both in their order; the memory of `images` is reused.

    Raises:
        ConfigError: one of the two parts would be empty.
    """
    out = torch.tensor([digest in held.digests for digest in digests], dtype=torch.bool)
    if out.all() or not out.any():
        what = "all private pictures are" if out.all() else "no private picture is one of those that are"
        raise ConfigError(f"{what} held out for evaluation in this run; add pictures, or use --eval folder:PATH")
    held_images, kept = images.images[out], (~out).nonzero().flatten().tolist()
    for to, place in enumerate(kept):  # in place, since the images may be in a file larger than the memory
        if to != place:
            images.images[to] = images.images[place]
    images.images[len(kept) :] = held_images
    labels = torch.cat([images.labels[~out], images.labels[out]])
    order = [*kept, *out.nonzero().flatten().tolist()]
    files = tuple(images.files[place] for place in order) if images.files else ()
    return (
        Labelled(images=images.images[: len(kept)], labels=labels[: len(kept)], files=files[: len(kept)]),
        Labelled(images=images.images[len(kept) :], labels=labels[len(kept) :], files=files[len(kept) :]),
    )


def _rank(digest: str, seed: int) -> str:
    """A number in [0, 2^64) as 16 hexadecimal digits, determined by the picture and the seed."""
    key = seed.to_bytes(8, "big", signed=False)
    return hashlib.blake2b(digest.encode(), key=key, digest_size=8).hexdigest()
