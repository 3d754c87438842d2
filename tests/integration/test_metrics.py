"""What Prometheus is told: as much as ``edgekd status`` and more, on a port that goes with the peer."""

import asyncio
import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from disks import small_disk
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from edgekd.exit_codes import ExitCode
from edgekd.protocol.messages import Heartbeat
from peer.node import metrics_server
from peer.node.recorder import FILES
from peer.transports.base import StreamClosedError
from peer.transports.grpc.transport import GrpcTransport

DEADLINE = 60.0  # seconds: far more than any of this takes
SMALL = ["--data", "digits", "--limit", 300, "--clients", 2, "--model", "mobilenet_v3_small"]
SMALL += ["--batch", 8, "--public-batch", 8, "--metrics-port", 0, "--threads", 1]

Metrics = dict[tuple[str, tuple[str, ...]], float]  # by name and the values of the labels


def url(process: Any) -> str:
    process.until(lambda p: any("serving metrics on" in line for line in p.err))
    return str(next(line for line in process.err if "serving metrics on" in line).split()[-1])


def scrape(where: str) -> Metrics:
    with urllib.request.urlopen(where, timeout=DEADLINE) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(s.name, tuple(s.labels.values())): s.value for s in samples}


def until(holds: Callable[[], Any]) -> Any:
    """What `holds()` returns once it is true."""
    deadline = time.monotonic() + DEADLINE
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


async def say_nonsense(address: str) -> None:
    """Begin a stream with something else than a Hello, and wait to be turned away."""
    transport = GrpcTransport(1 << 16)
    stream = await transport.dial(address, timeout=DEADLINE)
    await stream.send(Heartbeat(step=0, steps=0, round=0, done=False))
    try:
        while True:
            await stream.receive()
    except StreamClosedError:
        await transport.close()


def as_status_tells(found: dict[str, Any]) -> Metrics:
    told: Metrics = {
        ("edgekd_peer_info", (str(found["id"]),)): 1,
        ("edgekd_state", (found["state"],)): 1,
        ("edgekd_steps_total", ()): found["step"],
        ("edgekd_steps_wanted", ()): found["steps"],
        ("edgekd_round", ()): found["round"],
        ("edgekd_accuracy_ratio", ()): found["accuracy"],
        ("edgekd_neighbours_up", ()): sum(n["up"] for n in found["neighbours"]),
        ("edgekd_loss", ("labels",)): found["loss_labels"],
        ("edgekd_lessons_total", ()): found["lessons"],
        ("edgekd_fresh_lessons_total", ()): found["fresh_lessons"],
        ("edgekd_evaluation_images", ()): found["evaluation_images"],
        ("edgekd_best_accuracy_ratio", ()): found["best"],
        ("edgekd_training_seconds_total", ()): found["seconds"],
    }
    if found["loss_distil"] is not None:
        told["edgekd_loss", ("distil",)] = found["loss_distil"]
    if found["lesson_age"] is not None:
        told["edgekd_lesson_age_steps", ()] = found["lesson_age"]
    for file in FILES:
        told["edgekd_write_failed", (file,)] = file in found["failing"]
    for reason, count in found["refused"].items():
        told["edgekd_refused_total", (reason,)] = count
    for n in found["neighbours"]:
        who = (str(n["id"]),)
        told["edgekd_neighbour_up", who] = n["up"]
        told["edgekd_neighbour_age_steps", who] = n["age"]
        told["edgekd_neighbour_disagreement_ratio", who] = n["disagreement"]
        told["edgekd_neighbour_sent_bytes_total", who] = n["bytes_sent"]
        told["edgekd_neighbour_received_bytes_total", who] = n["bytes_received"]
        told["edgekd_neighbour_replaced_predictions_total", who] = n["replaced"]
    return told


def test_metrics_say_what_status_says_and_more(spawn: Any, ports: Any, tmp_path: Path) -> None:
    first, second = (f"127.0.0.1:{port}" for port in ports(2))
    once = [*SMALL, "--broadcast-every", 100_000, "--max-age", 100_000, "--linger", 600, "--json"]
    brief = spawn("peer", "--id", 0, "--listen", first, *once, "--steps", 6, "--wait-for", 1, "--out", tmp_path / "p")
    spawn("peer", "--id", 1, "--listen", second, "--peers", first, *once, "--steps", 100_000)
    brief.until(lambda p: any(event["state"] == "lingering" for event in p.events))  # from now on nothing moves
    asyncio.run(say_nonsense(first))

    def agree() -> tuple[Metrics, Metrics, dict[str, Any]]:
        asked = spawn("status", first, "--json")
        assert asked.wait() == 0, asked.err
        (found,) = json.loads("\n".join(asked.out))
        told, got = as_status_tells(found), scrape(url(brief))
        return (told, got, found) if all(got.get(name) == value for name, value in told.items()) else ({}, {}, {})

    told, got, found = until(lambda: pair if (pair := agree())[0] else None)
    assert told["edgekd_refused_total", ("hello",)] == 1
    assert told["edgekd_neighbour_received_bytes_total", ("1",)] == 8 * 10 * 2
    assert (told["edgekd_steps_total", ()], told["edgekd_neighbours_up", ()]) == (6, 1)
    assert 0 < told["edgekd_neighbour_disagreement_ratio", ("1",)] < 1
    assert told["edgekd_loss", ("labels",)] > 0
    assert (found["first_step"], found["failing"]) == (0, [])
    lessons = got["edgekd_lessons_total", ()]
    assert 0 < got["edgekd_fresh_lessons_total", ()] <= lessons <= 6
    assert got["edgekd_steps_without_lesson_total", ()] == 6 - lessons
    assert got["edgekd_waits_total", ()] == got["edgekd_missing_predictions_total", ()] == 0
    assert got["edgekd_loss", ("labels",)] > 0
    assert got["edgekd_training_seconds_total", ()] > 0
    assert got["edgekd_write_failed", ("checkpoint",)] == 0
    assert got["process_resident_memory_bytes", ()] > 1e7
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(url(brief).replace("metrics", "elsewhere"), timeout=DEADLINE)
    brief.terminate()
    port = int(url(brief).rpartition(":")[2].partition("/")[0])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))  # it is free


def test_taken_metrics_port_is_a_clear_error(spawn: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        peer = spawn("peer", "--id", 0, *SMALL, "--metrics-port", port)
        assert peer.wait() == ExitCode.TRANSIENT
    said = f"cannot serve metrics on 127.0.0.1:{port}: Address already in use; try another --metrics-port"
    assert peer.err[-1] == f"edgekd: {said}"


def slow_callers(where: str, count: int) -> list[socket.socket]:
    """Connections that have sent a part of a request."""
    host, port = where.removeprefix("http://").removesuffix("/metrics").rsplit(":", 1)
    made = [socket.create_connection((host, int(port)), DEADLINE) for _ in range(count)]
    for each in made:
        each.sendall(b"GET /metrics HTTP/1.1\r\n")
    return made


def has_ended(caller: socket.socket) -> bool:
    try:
        return caller.recv(1) == b""
    except ConnectionResetError:
        return True


def test_slow_callers_have_eight_connections_and_shut_nobody_out(spawn: Any) -> None:
    peer = spawn("peer", "--id", 0, *SMALL, "--steps", 0)
    where = url(peer)
    scrape(where)
    before = len(os.listdir(f"/proc/{peer.pid}/fd"))
    callers = slow_callers(where, 100)
    assert scrape(where)["edgekd_neighbours_up", ()] == 0
    assert len(os.listdir(f"/proc/{peer.pid}/fd")) < before + 50
    assert all(has_ended(caller) for caller in callers[:80])
    for caller in callers:
        caller.close()
    peer.terminate()


class Nothing(Collector):
    def collect(self) -> Iterator[Metric]:
        yield from ()


def test_caller_that_sends_a_byte_now_and_then_has_one_deadline_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "DEADLINE", 0.5)
    server = metrics_server.MetricsServer(Nothing(), "127.0.0.1", 0)
    try:
        (caller,) = slow_callers(f"http://{server.address}/metrics", 1)
        with caller:
            until(lambda: not is_open(caller))
    finally:
        server.stop()


def is_open(caller: socket.socket) -> bool:
    """Send one more byte; whether the other side still takes it."""
    try:
        caller.sendall(b"x")
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


@pytest.mark.parametrize(
    ("request_line", "status"),
    [("GET /metrics?x=1 HTTP/1.0", 200), ("GET /else HTTP/1.1", 404), ("POST /metrics HTTP/1.1", 405), ("?", 400)],
)
def test_each_request_has_the_answer_that_http_wants(request_line: str, status: int) -> None:
    server = metrics_server.MetricsServer(Nothing(), "127.0.0.1", 0)
    try:
        host, port = server.address.split(":")
        with socket.create_connection((host, int(port)), DEADLINE) as caller:
            caller.sendall(f"{request_line}\r\n\r\n".encode())
            assert caller.recv(1000).startswith(f"HTTP/1.1 {status} ".encode())
    finally:
        server.stop()


def test_metrics_are_on_loopback_unless_a_host_is_given(spawn: Any) -> None:
    open_to_all = ["--listen", "0.0.0.0:0", "--insecure", "--steps", 0]
    alone = spawn("peer", "--id", 0, *SMALL, *open_to_all)
    assert url(alone).startswith("http://127.0.0.1:")
    shown = spawn("peer", "--id", 1, *SMALL, *open_to_all, "--metrics-port", "0.0.0.0:0")
    assert url(shown).startswith("http://0.0.0.0:")
    wrong = spawn("peer", "--id", 1, *SMALL, "--metrics-port", "x")
    assert wrong.wait() == 1
    assert wrong.err[-1].startswith("edgekd: --metrics-port takes PORT or HOST:PORT, such as 9100 or 0.0.0.0:9100")
    for peer in (alone, shown):
        peer.terminate()


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/proc/mounts").is_file(), reason="mounts a small disk")
def test_full_disk_shows_in_the_metrics_and_the_status_for_as_long_as_it_is_full(
    spawn: Any, ports: Any, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "300k") as disk:
        often = ["--checkpoint-every", 2, "--eval-every", 2, "--keep-best"]
        (port,) = ports(1)
        address = f"127.0.0.1:{port}"
        peer = spawn(
            "peer", "--id", 0, *SMALL, "--listen", address, "--steps", 0, *often, "--out", disk / "p", "--json"
        )
        where = url(peer)
        until(lambda: scrape(where).get(("edgekd_write_failed", ("checkpoint",))) == 1)
        until(lambda: scrape(where)["edgekd_write_failed", ("best",)] == 1)
        asked = spawn("status", address)
        assert asked.wait() == 0, asked.err
        assert re.fullmatch(f"{address} cannot write to its folder: .*checkpoint.*", asked.out[-1])
        step = scrape(where)["edgekd_steps_total", ()]
        until(lambda: scrape(where)["edgekd_steps_total", ()] > step + 6)  # several more tries
        assert sum("No space left on device; training goes on" in line for line in peer.err) == 1
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        until(lambda: scrape(where)["edgekd_write_failed", ("checkpoint",)] == 0)
        until(lambda: scrape(where)["edgekd_write_failed", ("best",)] == 0)  # however good it is: none is kept yet
        assert (disk / "p" / "best.safetensors").is_file()
        peer.terminate()
        steps = [json.loads(line)["step"] for line in (disk / "p" / "metrics.jsonl").read_text().splitlines()]
        assert steps == sorted(set(steps))
