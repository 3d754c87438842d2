"""edgekd: edge boxes that teach one another to see, peer to peer.

The library: no sockets, no threads. The running process is the package `peer`; the command line is `edgekd.cli`.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:
    from edgekd.config import Config
    from edgekd.data.splits import partition
    from edgekd.losses.measures import dissimilarity
    from edgekd.simulation.groups import simulate
    from edgekd.use.predictor import load

__all__ = ["Config", "dissimilarity", "load", "partition", "simulate"]

_HOMES = {
    "Config": "config",
    "dissimilarity": "losses.measures",
    "load": "use.predictor",
    "partition": "data.splits",
    "simulate": "simulation.groups",
}


def __getattr__(name: str) -> object:
    # Imported when asked for: torch takes seconds, and `edgekd --help` must answer at once.
    if name not in _HOMES:
        raise AttributeError(f"module 'edgekd' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f"edgekd.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
