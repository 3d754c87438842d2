"""A check for pictures that are both trained on and evaluated on: such copies make accuracies look too good."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger("edgekd")


def warn_of_copies(evaluated: Sequence[Path], trained: Sequence[Path], where: str) -> None:
    """Warn if pictures to evaluate on are also among those to train on, byte for byte.

    Only files of equal size are read, so this costs little if sizes differ.

    Args:
        evaluated: files of pictures to evaluate on.
        trained: files of pictures to train on.
        where: the name of the data set, for the message.
    """
    found = _copies(evaluated, trained)
    if found:
        log.warning(
            "%s: %d of %d pictures to evaluate on are copies of ones to train on, such as %s: accuracies are too good; "
            "take the copies out",
            *(where, len(found), len(evaluated), found[0]),
        )


def _copies(evaluated: Sequence[Path], trained: Sequence[Path]) -> list[Path]:
    of_size: dict[int, list[Path]] = defaultdict(list)
    for file in trained:
        of_size[_size(file)].append(file)
    digests: dict[int, set[bytes]] = {}
    found = []
    for file in evaluated:
        size = _size(file)
        if size > 0 and size in of_size:
            if size not in digests:
                digests[size] = {_digest(other) for other in of_size[size]}
            if _digest(file) in digests[size]:
                found.append(file)
    return found


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # it was deleted; reading it will report the error
        return 0


def _digest(file: Path) -> bytes:
    try:
        return hashlib.blake2b(file.read_bytes()).digest()
    except OSError:
        return b""
