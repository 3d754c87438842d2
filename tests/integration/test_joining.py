"""A newcomer with nothing but an address and its pictures; how peers are, as they say themselves."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgekd.config import read_toml

SMALL = ["--model", "mobilenet_v3_small", "--batch", 8, "--eval-every", 0, "--threads", 1]


def split(spawn: Any, folder: Path) -> Path:
    made = spawn("split", "--data", "digits", "--limit", 300, "--clients", 2, "--gamma", 5, "--out", folder / "shards")
    assert made.wait() == 0, made.err
    return folder / "shards"


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_newcomer_joins_with_an_address_and_its_pictures_and_learns(
    spawn: Any, ports: Any, tmp_path: Path, transport: str
) -> None:
    over = ["--transport", transport]
    shards = split(spawn, tmp_path)
    ours, theirs = (f"127.0.0.1:{port}" for port in ports(2))
    settings = ["--public-batch", 8, "--temperature", 3, "--heads", 2, "--weights", "none", "--steps", 0]
    files = ["--private", f"folder:{shards}/client-0/private", "--public", shards / "public.safetensors"]
    first = spawn("peer", "--id", 0, "--listen", ours, *files, *SMALL, *settings, *over, "--json")
    join = ["peer", "--id", 1, "--listen", theirs, "--peers", ours, "--private", f"folder:{shards}/client-1/private"]
    join += [*SMALL, *over, "--weights", "none", "--steps", 0, "--json", "--out", tmp_path / "joined"]
    second = spawn(*join)
    second.until(lambda p: any(event.get("age") is not None for event in p.events))
    fetched = tmp_path / "joined" / "public.safetensors"
    assert fetched.read_bytes() == (shards / "public.safetensors").read_bytes()
    adopted = read_toml(tmp_path / "joined" / "config.toml")
    assert (adopted["train"]["public_batch"], adopted["distill"]["temperature"], adopted["model"]["heads"]) == (8, 3, 2)

    asked = spawn("status", ours, theirs, "127.0.0.1:1", *over, "--json")
    assert asked.wait() == 1, "one of them does not answer"
    found = json.loads("\n".join(asked.out))
    assert [(each["address"], each["id"], each["up"]) for each in found] == [
        (ours, 0, True),
        (theirs, 1, True),
        ("127.0.0.1:1", None, False),
    ]
    assert found[0]["state"] == "training"
    assert found[1]["bytes_received"] > 0
    assert [(n["id"], n["up"]) for n in found[0]["neighbours"]] == [(1, True)]
    assert 0 <= found[1]["neighbours"][0]["age"] <= found[1]["step"]
    assert found[2]["step"] is None

    again = spawn("public", "--from", theirs, *over, "-o", "copy.safetensors")
    assert again.wait() == 0, again.err
    assert (tmp_path / "copy.safetensors").read_bytes() == fetched.read_bytes()

    for process in (first, second):
        process.terminate()
    assert second.err[0] == "INFO peer=1 step=- asking the group for its public file and settings"
    assert all(re.fullmatch(r"(INFO|WARNING) peer=1 step=(-|[0-9]+) [^ ].*", line) for line in second.err), second.err
    steps = [int(step) for line in second.err if (step := line.split()[2].partition("=")[2]) != "-"]
    assert steps == sorted(steps)
    assert steps[-1] > 0
    resumed = spawn(*join, "--resume")  # with nobody there to ask
    resumed.until(lambda p: any(event.get("state") == "training" for event in p.events))
    resumed.terminate()


def test_peer_that_goes_on_without_its_public_file_takes_that_of_its_own_group_alone(
    spawn: Any, ports: Any, tmp_path: Path
) -> None:
    shards = split(spawn, tmp_path)
    pictures = shards / "client-0" / "private" / "1"
    made = spawn("public", pictures, "--classes", ",".join("0123456789"), "--size", 32, "-o", "other.safetensors")
    assert made.wait() == 0, made.err
    stranger, own = (f"127.0.0.1:{port}" for port in ports(2))
    small = [*SMALL, "--public-batch", 4, "--weights", "none", "--json"]
    for id, (address, public) in enumerate(((stranger, "other.safetensors"), (own, shards / "public.safetensors"))):
        files = ["--private", f"folder:{shards}/client-0/private", "--public", public]
        spawn("peer", "--id", id, "--listen", address, *files, *small, "--steps", 0).until_step(1)
    run = tmp_path / "run"
    join = ["peer", "--id", 2, "--private", f"folder:{shards}/client-1/private", *small, "--out", run]
    assert spawn(*join, "--peers", own, "--steps", 2).wait() == 0
    file = run / "public.safetensors"
    content = file.read_bytes()
    file.unlink()
    alone = spawn(*join, "--peers", stranger, "--steps", 4, "--resume")
    assert alone.wait() == 1
    assert "no address has a public file that this peer can use" in alone.err[-1]
    assert "public was " in alone.err[-1]
    assert not file.exists()
    again = spawn(*join, "--peers", f"{stranger},{own}", "--steps", 4, "--resume")
    assert again.wait() == 0, again.err
    assert file.read_bytes() == content


def test_newcomer_with_keys_joins_a_group_that_has_them(spawn: Any, ports: Any, tmp_path: Path) -> None:
    shards = split(spawn, tmp_path)
    assert spawn("certs", "--ids", "0,1").wait() == 0
    (port,) = ports(1)
    ours = f"127.0.0.1:{port}"
    files = ["--private", f"folder:{shards}/client-0/private", "--public", shards / "public.safetensors"]
    settings = ["--public-batch", 8, "--weights", "none", "--steps", 0, *SMALL]
    first = spawn("peer", "--id", 0, "--listen", ours, *files, *settings, "--certs", "certs/peer-0", "--json")
    first.until_step(1)
    join = ["peer", "--id", 1, "--certs", "certs/peer-1", "--peers", f"0@{ours}", "--json", *SMALL, "--steps", 0]
    second = spawn(*join, "--weights", "none", "--private", f"folder:{shards}/client-1/private", "--out", "joined")
    second.until(lambda p: any(event.get("age") is not None for event in p.events))
    assert (tmp_path / "joined" / "public.safetensors").read_bytes() == (shards / "public.safetensors").read_bytes()
    copied = spawn("public", "--from", f"0@{ours}", "--certs", "certs/peer-1", "-o", "copy.safetensors")
    assert copied.wait() == 0, copied.err
    for process in (first, second):
        process.terminate()


def test_newcomer_waits_for_a_group_to_come_up_and_stops_at_once_when_told(
    spawn: Any, ports: Any, tmp_path: Path
) -> None:
    shards = split(spawn, tmp_path)
    (port,) = ports(1)
    where = ["--peers", f"127.0.0.1:{port}", "--private", f"folder:{shards}/client-0/private"]
    newcomer = spawn("peer", "--id", 1, *where, *SMALL)
    newcomer.until(lambda p: any("keep trying" in line for line in p.err))
    newcomer.terminate()
    missing = spawn("peer", "--id", 1, "--private", f"folder:{shards}/client-0/private", *SMALL)
    assert missing.wait() == 1
    assert "--private goes with --public FILE" in missing.err[-1]


def test_statuses_are_a_table_for_people(spawn: Any, ports: Any) -> None:
    (port,) = ports(1)
    alone = ["--data", "digits", "--limit", 300, "--public-batch", 8, *SMALL, "--steps", 0, "--json"]
    peer = spawn("peer", "--id", 0, "--listen", f"127.0.0.1:{port}", *alone)
    peer.until_step(1)
    asked = spawn("status", f"127.0.0.1:{port}")
    assert asked.wait() == 0, asked.err
    assert any("127.0.0.1" in line and "training" in line for line in asked.out)
    peer.terminate()
