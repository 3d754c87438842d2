"""The list of revoked keys in a folder of keys."""

from pathlib import Path

from edgekd.errors import ConfigError
from edgekd.protocol.holders import REVOKED, Holder, parse_revoked


def revoked(folder: Path) -> frozenset[Holder]:
    """The holders whose keys are revoked by the list in `folder`; empty if there is no list.

    Raises:
        ConfigError: a line of the list is not a holder.
        OSError: the list cannot be read.
    """
    path = folder / REVOKED
    try:
        return parse_revoked(path.read_bytes().decode(errors="replace"))
    except FileNotFoundError:
        return frozenset()
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}; one a line") from error
