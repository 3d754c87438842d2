"""A process may open so many files and no more; strangers must leave some for checkpoints and neighbours."""

import contextlib
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import addresses, neighbour, peer, until_status

FILES = 256
ENDLESS = ["--steps", 0]
# What begins a connection that stays idle after it: preface and settings of HTTP/2; greeting and handshake of ZMTP.
READY = b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER"
IDLE = {
    "grpc": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0",
    "zmq": b"\xff" + bytes(8) + b"\x7f\3\0NULL" + bytes(16 + 1 + 31) + bytes([4, len(READY)]) + READY,
}


def newest_checkpoint(folder: Path) -> int:
    """The step of the newest one; -1: there is none."""
    names = [file.name for file in folder.glob("checkpoint-*.safetensors")]
    return max((int(re.findall(r"\d+", name)[0]) for name in names), default=-1)


@contextlib.contextmanager
def idle_connections(address: str, count: int, begin: bytes) -> Iterator[None]:
    host, port = address.split(":")
    with contextlib.ExitStack() as open_ones:
        for _ in range(count):
            made = open_ones.enter_context(socket.create_connection((host, int(port)), 30.0))
            with contextlib.suppress(OSError):  # it is one too many
                made.sendall(begin)
        yield


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs prlimit")
@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_idle_connections_beyond_the_limit_of_files_leave_room_for_checkpoints_and_neighbours(
    transport: str, spawn: Any, tmp_path: Path
) -> None:
    (where,) = addresses(1)
    how = [*ENDLESS, "--transport", transport]
    few = ["prlimit", f"--nofile={FILES}"]
    process = spawn(peer(0, tmp_path, *how, "--checkpoint-every", 5, listen=where), inside=few)
    folder = tmp_path / "peer-0"
    process.until(lambda p: newest_checkpoint(folder) > 0)
    with idle_connections(where, FILES + 50, IDLE[transport]):
        before = newest_checkpoint(folder)
        process.until(lambda p: newest_checkpoint(folder) >= before + 20)
        assert process.files() < FILES - 64
        if transport == "grpc":  # libzmq accepts all, and surplus connections are cut a moment later
            assert "Too many open files" not in process.said
        spawn(peer(1, tmp_path, *how, "--checkpoint-every", 0, listen=None, peers=[where]))
        until_status(where, lambda s: neighbour(s, 1) is not None and neighbour(s, 1).up, transport=transport)
        process.until_exchanging()
