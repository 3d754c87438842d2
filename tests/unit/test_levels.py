"""The levels of the tests, and the check that a pure test opens no socket and starts no process."""

import asyncio
import multiprocessing
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc.aio
import pytest
import zmq
from effects import noted_effects

UNIT = Path(__file__).parent


def spawn_worker() -> None:
    worker = multiprocessing.get_context("spawn").Process(target=print)
    worker.start()
    worker.join()


async def _open_channel() -> None:
    await grpc.aio.insecure_channel("127.0.0.1:1").close()


def open_zmq() -> None:
    with zmq.Context() as context:
        context.socket(zmq.DEALER).close(0)


@pytest.mark.parametrize(
    ("act", "noted"),
    [
        (lambda: socket.socket().close(), "socket.socket"),
        (lambda: subprocess.run([sys.executable, "-c", ""], check=True), "subprocess.Popen"),
        (spawn_worker, "multiprocessing.util.spawnv_passfds"),
        (lambda: asyncio.run(_open_channel()), "grpc.aio.insecure_channel"),
        (open_zmq, "Context.socket"),
    ],
    ids=["socket", "process", "worker", "grpc", "zmq"],
)
def test_sockets_and_processes_are_noted(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], noted: str
) -> None:
    with noted_effects(monkeypatch) as effects:
        act()
    assert noted in effects


def test_event_loop_and_file_are_pure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with noted_effects(monkeypatch) as effects:
        asyncio.run(asyncio.sleep(0))
        (tmp_path / "file").write_text("text")
    assert not effects


def test_each_module_of_the_wire_level_exists(pytestconfig: pytest.Config) -> None:
    conftest = next(each for each in pytestconfig.pluginmanager.get_plugins() if hasattr(each, "WIRE"))
    assert [name for name in sorted(conftest.WIRE) if not (UNIT / f"test_{name}.py").is_file()] == []
