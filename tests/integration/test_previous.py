"""The previous release and this version: in one group, and with the files that the release has written.

The code of the release comes out of the history. A checkout without it (a shallow clone, a source archive) leaves these
tests out, and says so.
"""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drawing import picture
from processes import SMALL, Process

ROOT = Path(__file__).resolve().parents[2]
RELEASE, COMMIT = "0.1.0", "cc414e8"  # of the newest release; the commit is for clones that have no tags

Spawn = Callable[..., Process]

pytestmark = pytest.mark.timeout(600)  # pip builds a wheel, too


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the release as pip installs it: a wheel of its code. The dependencies are those of this version."""
    folder = tmp_path_factory.mktemp("release")
    archive, code, installed = folder / "code.tar", folder / "code", folder / "installed"
    for revision in (f"refs/tags/{RELEASE}", COMMIT):
        command = ["git", "archive", "--output", archive, revision]
        if subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60).returncode == 0:
            break
    else:
        pytest.skip(f"the history of this checkout has neither the tag {RELEASE} nor the commit {COMMIT}")
    with tarfile.open(archive) as opened:
        opened.extractall(code, filter="data")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", installed, code]
    done = subprocess.run(install, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return installed


@pytest.fixture
def spawn_release(release: Path, tmp_path: Path) -> Iterator[Spawn]:
    """Start ``edgekd ARGUMENTS...`` of the release, in a fresh interpreter, in the test's own folder."""
    started: list[Process] = []
    start_it = (
        "import edgekd, importlib.metadata, peer\n"
        "from edgekd.cli import main\n"
        f"assert edgekd.__file__.startswith({str(release)!r}) and peer.__file__.startswith({str(release)!r})\n"
        f"assert importlib.metadata.version('edgekd') == {RELEASE!r}\n"
        "main()"
    )

    def start(*arguments: object) -> Process:
        child = subprocess.Popen(
            [sys.executable, "-c", start_it, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(release)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(Process(child))
        return started[-1]

    yield start
    for process in started:
        process.close()


def answer(process: Process) -> Any:
    """What a command with --json prints at its end."""
    assert process.wait() == 0, process.err
    return json.loads("\n".join(process.out))


def summary(folder: Path) -> dict[str, Any]:
    (only,) = json.loads((folder / "summary.json").read_text())["peers"]
    assert isinstance(only, dict)
    return only


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_lockstep_beside_a_peer_of_the_release_equals_the_simulation_bit_for_bit(
    spawn: Any, spawn_release: Spawn, ports: Any, tmp_path: Path, transport: str
) -> None:
    settings = [*SMALL, "--clients", 2, "--steps", 6, "--seed", 3, "--sync", "--transport", transport]
    simulated = spawn("simulate", *settings, "--json", "--out", tmp_path / "simulated")
    addresses = ports(2)
    both = ",".join(f"127.0.0.1:{port}" for port in addresses)
    started = [
        start("peer", "--id", id, "--listen", f"127.0.0.1:{addresses[id]}", "--peers", both, *settings, "--out", out)
        for id, start in enumerate((spawn_release, spawn))
        for out in [tmp_path / f"peer-{id}"]
    ]
    assert [process.wait() for process in started] == [0, 0], [process.said for process in started]
    got = [summary(tmp_path / f"peer-{id}") for id in range(2)]
    assert [peer["lessons"] for peer in got] == [6, 6]
    expected = [peer["weights_sha256"] for peer in answer(simulated)["peers"]]
    assert [peer["weights_sha256"] for peer in got] == expected


@pytest.fixture
def mixed(spawn: Any, spawn_release: Spawn, ports: Any, tmp_path: Path) -> Path:
    """A folder with the files of a group: the release has made its public file and run peer 0, this version peer 1."""
    for number in range(20):
        picture(tmp_path / "own" / "dark" / f"{number:02}.png", number, 60)
        picture(tmp_path / "own" / "light" / f"{number:02}.png", 100 + number, 180)
        picture(tmp_path / "shared" / f"{number:02}.png", 200 + number, 60 + 6 * number)
    public = tmp_path / "public.safetensors"
    made = spawn_release("public", "shared", "--classes", "dark,light", "--size", 32, "-o", public)
    assert made.wait() == 0, made.err
    addresses = ports(2)
    both = ",".join(f"127.0.0.1:{port}" for port in addresses)
    started = [
        start(
            *("peer", "--id", id, "--listen", f"127.0.0.1:{addresses[id]}", "--peers", both, "--wait-for", 1),
            *("--private", "folder:own", "--public", public, "--weights", "none", "--model", "mobilenet_v3_small"),
            *("--batch", 8, "--public-batch", 8, "--threads", 1, "--steps", 0, "--out", f"peer-{id}", "--json"),
        )
        for id, start in enumerate((spawn_release, spawn))
    ]
    for process in started:
        process.until(lambda p: any(event.get("age") is not None for event in p.events))  # it learns from the other one
    for process in started:
        process.terminate()
    assert [process.wait() for process in started] == [0, 0], [process.said for process in started]
    return tmp_path


def test_files_of_the_release_are_read_as_it_reads_them_itself(spawn: Any, spawn_release: Spawn, mixed: Path) -> None:
    for id in range(2):
        assert summary(mixed / f"peer-{id}")["lessons"] > 0
        assert summary(mixed / f"peer-{id}")["refused"] == {}
    evaluate = ["eval", "--checkpoint", "peer-0", "--json"]
    assert answer(spawn(*evaluate)) == answer(spawn_release(*evaluate))
    predict = ["predict", "own/dark/00.png", "own/light/00.png", "--checkpoint", "peer-0", "--json"]
    assert answer(spawn(*predict)) == answer(spawn_release(*predict))
    done = summary(mixed / "peer-0")["steps"]
    resumed = spawn("peer", "--resume", "--out", "peer-0", "--steps", done + 3, "--wait-for", 0)
    assert resumed.wait() == 0, resumed.err
    assert f"resumed at step {done}" in resumed.said
    assert summary(mixed / "peer-0")["steps"] == done + 3
