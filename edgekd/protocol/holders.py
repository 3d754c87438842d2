"""The holders of keys, their names as text, and the list of revoked keys.

A holder is the peer or the observer to whom a key belongs. An observer may ask peers for their status, and nothing
else. As text, peer 3 is "3" and the observer with the name pc is "observer-pc". A holder whose key is revoked is
refused.
"""

import re
from collections.abc import Iterable

from edgekd.errors import ConfigError
from edgekd.protocol.addresses import MAX_ID

Holder = int | str  # a peer's id, or the text of an observer: "observer-NAME"

REVOKED = "revoked.txt"  # the file in a folder of keys that lists the holders of revoked keys, one on each line

_OBSERVER = re.compile(r"observer-[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")  # the characters that a DNS name may contain
_PEER = re.compile(r"(?:peer-)?(0|[1-9][0-9]{0,9})")


def observer(name: str) -> str:
    """The holder of an observer with this name: "observer-NAME".

    Raises:
        ConfigError: `name` is not a valid name.
    """
    if _OBSERVER.fullmatch(f"observer-{name}") is None:
        raise ConfigError(f"the name of an observer is 1 to 32 of a to z, 0 to 9 and, between them, -, got {name!r}")
    return f"observer-{name}"


def holder(text: str) -> Holder:
    """Parse the text of one holder: "3" and "peer-3" are peer 3, "observer-pc" is an observer.

    Raises:
        ConfigError: `text` has none of these forms.
    """
    if (match := _PEER.fullmatch(text)) is not None and int(match[1]) <= MAX_ID:
        return int(match[1])
    if _OBSERVER.fullmatch(text) is not None:
        return text
    raise ConfigError(f"a key is that of a peer, such as 3, or of an observer, such as observer-pc, got {text!r}")


def holders(text: str) -> tuple[Holder, ...]:
    """Parse a list of holders such as "3,observer-pc"; repeated holders are returned once.

    Raises:
        ConfigError: a part of the list is not a holder.
    """
    return tuple(dict.fromkeys(holder(part.strip()) for part in text.split(",")))


def folder_name(whose: Holder) -> str:
    """The name of the folder with the keys of this holder, for example "peer-3" or "observer-pc"."""
    return whose if isinstance(whose, str) else f"peer-{whose}"


def spoken(whose: Holder) -> str:
    """The holder as it is written in a sentence, for example "peer 3" or "observer pc"."""
    return folder_name(whose).replace("-", " ", 1)


def parse_revoked(text: str) -> frozenset[Holder]:
    """Parse a list of revoked keys: one holder on each line, empty lines and comments after a # are ignored.

    Raises:
        ConfigError: a line is not a holder.
    """
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return frozenset(holder(line) for line in lines if line)


def revoked_text(before: str, new: Iterable[Holder]) -> str:
    """The text of the list `before`, with its comments, and one more line for each of `new`."""
    kept = before.splitlines() or ["# whose keys are revoked"]
    return "".join(f"{line}\n" for line in [*kept, *map(folder_name, new)])
