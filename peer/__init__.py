"""The running process: sockets, clock, threads. Calls `edgekd`, which never imports this, but for its command line.

`start` is the door for programs; ``edgekd peer`` goes through it, too.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:
    from peer.node.progress import Progress
    from peer.node.running import Peer, start

__all__ = ["Peer", "Progress", "start"]

_HOMES = {"Peer": "node.running", "Progress": "node.progress", "start": "node.running"}


def __getattr__(name: str) -> object:
    # Imported when asked for: the wire and the health check need no torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'peer' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f"peer.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
