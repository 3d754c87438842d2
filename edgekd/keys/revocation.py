"""The list of revoked keys in a folder of keys."""

from pathlib import Path

from edgekd.errors import ConfigError
from edgekd.protocol.holders import REVOKED, Holder, parse_revoked


def revoked(folder: Path) -> frozenset[Holder]:
    """Whose keys are shut out, by the list in `folder`; nobody's, if there is none.

    Raises:
        ConfigError: a line of it names nobody.
        OSError: it cannot be read.
    """
    path = folder / REVOKED
    try:
        return parse_revoked(path.read_bytes().decode(errors="replace"))
    except FileNotFoundError:
        return frozenset()
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}; one a line") from error
