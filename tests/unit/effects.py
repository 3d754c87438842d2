"""Notes what leaves this process: network sockets and other processes. Pure tests have neither."""

import multiprocessing.util
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "os.exec"}
NETWORK = {socket.AF_INET, socket.AF_INET6}  # an event loop has a pair of local sockets, which reach nobody
_noted: list[str] | None = None  # None: nothing is being noted


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _noted is None:
        return
    if event in STARTS:
        _noted.append(event)
    elif event == "socket.__new__" and arguments[1] in NETWORK:
        _noted.append("socket.socket")


sys.addaudithook(_hear)  # Python can never remove it


@contextmanager
def noted_effects(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Inside the block, collect what opens a socket or starts a process, in a list that the block gets.

    Python announces its own sockets and processes to audit hooks. The workers of multiprocessing and the sockets of
    gRPC and ZeroMQ are made beneath Python, so the calls that make them are noted instead.
    """
    global _noted
    with monkeypatch.context() as patch:
        _note_calls(patch, multiprocessing.util, "spawnv_passfds")
        if grpc := sys.modules.get("grpc.aio"):
            for name in ("server", "insecure_channel", "secure_channel"):
                _note_calls(patch, grpc, name)
        if zmq := sys.modules.get("zmq"):
            _note_calls(patch, zmq.Context, "socket")
        _noted = []
        try:
            yield _noted
        finally:
            _noted = None


def _note_calls(patch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    original = getattr(owner, name)

    def called(*args: Any, **kwargs: Any) -> Any:
        if _noted is not None:
            _noted.append(f"{owner.__name__}.{name}")
        return original(*args, **kwargs)

    patch.setattr(owner, name, called)
