"""``docker compose up`` in a fresh project: the data is split once, three peers teach one another, each reports."""

import json
from collections.abc import Iterator

import pytest
from containers import DEADLINE, docker, need_engine

PROJECT = "edgekd-test"

pytestmark = [pytest.mark.docker, pytest.mark.timeout(DEADLINE + 60)]

LOCKED = {"user": "edgekd", "read_only": True, "dropped": ["ALL"], "options": ["no-new-privileges:true"]}


def locked(container: str) -> dict[str, object]:
    """What a container may not do."""
    (found,) = json.loads(docker("inspect", container))
    host = found["HostConfig"]
    return {
        "user": found["Config"]["User"],
        "read_only": host["ReadonlyRootfs"],
        "dropped": host["CapDrop"],
        "options": host["SecurityOpt"],
    }


@pytest.fixture
def compose() -> Iterator[list[str]]:
    need_engine()
    command = ["compose", "-p", PROJECT]
    docker(*command, "down", "--volumes")
    yield command
    docker(*command, "down", "--volumes")


def test_three_containers_teach_one_another_and_see_their_own_shard_alone(compose: list[str]) -> None:
    docker(*compose, "up", "--build")
    logs = docker(*compose, "logs", "--no-log-prefix")
    for id in range(3):
        assert f"peer {id}: accuracy 0." in logs
    states = [json.loads(line) for line in docker(*compose, "ps", "--all", "--format", "json").splitlines()]
    assert sorted((s["Service"], s["ExitCode"]) for s in states) == [
        (s, 0) for s in ("certs", "peer-0", "peer-1", "peer-2", "split")
    ]
    for id in range(3):
        container = next(s["ID"] for s in states if s["Service"] == f"peer-{id}")
        mounts = json.loads(docker("inspect", "--format", "{{json .Mounts}}", container))
        volumes = {mount["Name"] for mount in mounts if mount["Type"] == "volume"}
        assert volumes == {f"{PROJECT}_{what}-{id}" for what in ("shard", "keys", "results")}
    for state in states:
        assert locked(state["ID"]) == LOCKED, state["Service"]
    docker(*compose, "up")  # again: nothing is split or trained anew, and what was reached is said once more
    again = docker(*compose, "logs", "--no-log-prefix")
    assert again.count("resumed at step 120") == 3
    revoked = docker(*compose, "run", "--rm", "--no-deps", "certs", "certs", "--revoke", "2", "--out", "/keys")
    assert "shut out: peer 2" in revoked  # by those volumes alone: /keys itself is read-only
    python = ["run", "--rm", "--no-deps", "--entrypoint", "python", "peer-0"]
    safe = docker(*compose, *python, "-c", "import sys; print(sys.flags.safe_path)")
    assert safe.split() == ["True"]  # the working folder may be a mount
    inside = ["run", "--rm", "--no-deps", "--user", "root", "--entrypoint", "sh", "peer-0", "-c"]
    left = "ls -d /src /wheels /requirements /mnt/* /root/.cache/pip $(command -v gcc make) 2>/dev/null || true"
    assert docker(*compose, *inside, left) == ""  # what builds the image stays out of it
