"""What Prometheus is told: as much as ``edgekd status`` and more, on a port that goes with the peer."""

import asyncio
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgekd.protocol.messages import Heartbeat
from peer.transports.base import StreamClosedError
from peer.transports.grpc.transport import GrpcTransport

DEADLINE = 60.0  # seconds: far more than any of this takes
SMALL = ["--data", "digits", "--limit", 300, "--clients", 2, "--model", "mobilenet_v3_small"]
SMALL += ["--batch", 8, "--public-batch", 8, "--metrics-port", 0]

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
    }
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

    def agree() -> tuple[Metrics, Metrics]:
        asked = spawn("status", first, "--json")
        assert asked.wait() == 0, asked.err
        (found,) = json.loads("\n".join(asked.out))
        told, got = as_status_tells(found), scrape(url(brief))
        return (told, got) if all(got.get(name) == value for name, value in told.items()) else ({}, {})

    told, got = until(lambda: pair if (pair := agree())[0] else None)
    assert told["edgekd_refused_total", ("hello",)] == 1
    assert told["edgekd_neighbour_received_bytes_total", ("1",)] == 8 * 10 * 2
    assert (told["edgekd_steps_total", ()], told["edgekd_neighbours_up", ()]) == (6, 1)
    assert 0 < told["edgekd_neighbour_disagreement_ratio", ("1",)] < 1
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
        assert peer.wait() == 1
    said = f"cannot serve metrics on 127.0.0.1:{port}: Address already in use; try another --metrics-port"
    assert peer.err[-1] == f"edgekd: {said}"


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/proc/mounts").is_file(), reason="mounts a small disk")
def test_full_disk_shows_in_the_metrics_for_as_long_as_it_is_full(spawn: Any, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        peer = spawn("peer", "--id", 0, *SMALL, "--steps", 0, "--checkpoint-every", 2, "--out", disk / "p", "--json")
        where = url(peer)
        until(lambda: scrape(where).get(("edgekd_write_failed", ("checkpoint",))) == 1)
        step = scrape(where)["edgekd_steps_total", ()]
        until(lambda: scrape(where)["edgekd_steps_total", ()] > step + 6)  # several more tries
        assert sum("No space left on device; training goes on" in line for line in peer.err) == 1
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        until(lambda: scrape(where)["edgekd_write_failed", ("checkpoint",)] == 0)
        peer.terminate()
        steps = [json.loads(line)["step"] for line in (disk / "p" / "metrics.jsonl").read_text().splitlines()]
        assert steps == sorted(set(steps))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
