"""Whose a key is: a peer's, by its id, or an observer's, by its name; and the list of those that are shut out.

As text a peer is "3" and the observer called pc is "observer-pc". An observer may ask peers how they are, and nothing
else.
"""

import re
from collections.abc import Iterable

from edgekd.errors import ConfigError
from edgekd.protocol.addresses import MAX_ID

Holder = int | str  # the id of a peer; or of an observer its text, "observer-NAME"

REVOKED = "revoked.txt"  # in a folder of keys: the holders whose keys are shut out, one a line

_OBSERVER = re.compile(r"observer-[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")  # such as a DNS name may hold
_PEER = re.compile(r"(?:peer-)?(0|[1-9][0-9]{0,9})")


def observer(name: str) -> str:
    """The observer called `name`.

    Raises:
        ConfigError: it is no name.
    """
    if _OBSERVER.fullmatch(f"observer-{name}") is None:
        raise ConfigError(f"the name of an observer is 1 to 32 of a to z, 0 to 9 and, between them, -, got {name!r}")
    return f"observer-{name}"


def holder(text: str) -> Holder:
    """Whom a text names: "3" and "peer-3" peer 3, "observer-pc" the observer called pc.

    Raises:
        ConfigError: it names nobody.
    """
    if (match := _PEER.fullmatch(text)) is not None and int(match[1]) <= MAX_ID:
        return int(match[1])
    if _OBSERVER.fullmatch(text) is not None:
        return text
    raise ConfigError(f"a key is that of a peer, such as 3, or of an observer, such as observer-pc, got {text!r}")


def holders(text: str) -> tuple[Holder, ...]:
    """The holders in a list such as "3,observer-pc", without repetitions.

    Raises:
        ConfigError: one of them is none.
    """
    return tuple(dict.fromkeys(holder(part.strip()) for part in text.split(",")))


def folder_name(whose: Holder) -> str:
    """The name of the folder that holds somebody's keys: "peer-3", "observer-pc"."""
    return whose if isinstance(whose, str) else f"peer-{whose}"


def spoken(whose: Holder) -> str:
    """Somebody in a sentence: "peer 3", "observer pc"."""
    return folder_name(whose).replace("-", " ", 1)


def parse_revoked(text: str) -> frozenset[Holder]:
    """Whom a list of revoked keys names; empty lines, and what follows a #, count for nothing.

    Raises:
        ConfigError: a line names nobody.
    """
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return frozenset(holder(line) for line in lines if line)


def revoked_text(before: str, new: Iterable[Holder]) -> str:
    """The list `before`, with the comments in it, and a line for each of `new`."""
    kept = before.splitlines() or ["# whose keys are revoked"]
    return "".join(f"{line}\n" for line in [*kept, *map(folder_name, new)])
