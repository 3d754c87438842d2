"""The running process: sockets, clock, threads. It calls `edgekd`, which never imports it, except in the command line.

A program starts a peer with `start`. ``edgekd peer`` starts its peer in the same way.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peer.node.launch import start
    from peer.node.progress import Progress
    from peer.node.running import Peer

__all__ = ["Peer", "Progress", "start"]

_HOMES = {"Peer": "node.running", "Progress": "node.progress", "start": "node.launch"}


if not TYPE_CHECKING:  # a type checker reports names that are not exported

    def __getattr__(name: str) -> object:
        # Imported at the first use, because the wire and the health check need no torch.
        if name not in _HOMES:
            raise AttributeError(f"module 'peer' has no attribute '{name}'")
        import importlib

        return getattr(importlib.import_module(f"peer.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
