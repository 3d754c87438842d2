"""deploy/kubernetes.yaml: what a cluster would take, and what its containers may not do."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from edgekd.cli.peer import command as peer
from edgekd.cli.split import command as split

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ITEMS = yaml.safe_load((DEPLOY / "kubernetes.yaml").read_text())["items"]
PODS = {item["metadata"]["name"]: item["spec"]["template"] for item in ITEMS if item["kind"] == "Job"}
NAMES = ["peer-0", "peer-1", "peer-2"]


def named(of: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    assert len({each["name"] for each in of}) == len(of)
    return {each["name"]: {key: value for key, value in each.items() if key != "name"} for each in of}


def peer_of(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["spec"]["containers"]
    return dict(container)


def flags(pod: dict[str, Any], id: str) -> dict[str, Any]:
    """The settings that a peer is started with."""
    verb, config, *rest = (argument.replace("$(ID)", id) for argument in peer_of(pod)["args"])
    assert (verb, config) == ("peer", "--config=/etc/edgekd/peer.toml")
    return dict(peer.make_context("peer", [f"--config={DEPLOY / 'peer.toml'}", *rest]).params)


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: f"{item['kind']}-{item['metadata']['name']}")
def test_each_object_is_what_kubernetes_knows(item: dict[str, Any]) -> None:
    kubernetes_validate.validate(item, "1.30", strict=True)


def test_there_are_three_jobs_and_they_are_tried_again() -> None:
    assert list(PODS) == NAMES
    assert {pod["spec"]["restartPolicy"] for pod in PODS.values()} == {"OnFailure"}


@pytest.mark.parametrize("name", NAMES)
def test_pods_run_as_a_user_without_rights_and_share_nothing_with_the_node(name: str) -> None:
    spec = PODS[name]["spec"]
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "fsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert spec["automountServiceAccountToken"] is False
    assert not [key for key in spec if key.startswith("host") and key != "hostname"]


@pytest.mark.parametrize("name", NAMES)
def test_containers_have_no_capabilities_and_write_to_their_volumes_alone(name: str) -> None:
    (init,) = PODS[name]["spec"]["initContainers"]
    for container in (init, peer_of(PODS[name])):
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
    assert named(init["volumeMounts"]) == {"tmp": {"mountPath": "/tmp"}, "shard": {"mountPath": "/shard"}}
    assert named(peer_of(PODS[name])["volumeMounts"]) == {
        "tmp": {"mountPath": "/tmp"},
        "shard": {"mountPath": "/shard", "readOnly": True},
        "keys": {"mountPath": "/keys/own", "readOnly": True},
        "config": {"mountPath": "/etc/edgekd", "readOnly": True},
        "results": {"mountPath": "/results"},
    }


@pytest.mark.parametrize("name", NAMES)
def test_peers_have_their_own_keys_and_results_alone(name: str) -> None:
    id = name.removeprefix("peer-")
    assert named(PODS[name]["spec"]["volumes"]) == {
        "tmp": {"emptyDir": {}},
        "shard": {"emptyDir": {}},
        "config": {"configMap": {"name": "edgekd"}},
        "keys": {"secret": {"secretName": f"edgekd-keys-{id}", "defaultMode": 0o400}},
        "results": {"persistentVolumeClaim": {"claimName": f"edgekd-results-{id}"}},
    }
    claims = [item["metadata"]["name"] for item in ITEMS if item["kind"] == "PersistentVolumeClaim"]
    assert claims == [f"edgekd-results-{each}" for each in range(3)]


def test_peers_find_one_another_by_the_names_that_their_service_gives_them() -> None:
    (service,) = (item for item in ITEMS if item["kind"] == "Service")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"]
    assert service["spec"]["selector"].items() <= PODS["peer-0"]["metadata"]["labels"].items()
    where = []
    for id, (name, pod) in enumerate(PODS.items()):
        assert pod["metadata"]["labels"] == {"app": "edgekd", "peer": str(id)}
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == (name, service["metadata"]["name"])
        given = flags(pod, str(id))
        assert (given["id"], given["listen"], given["resume"]) == (id, "0.0.0.0:7000", True)
        assert peer_of(pod)["readinessProbe"]["exec"]["command"][-3:] == ["--certs", "/keys/own", "127.0.0.1:7000"]
        where.append(f"{id}@{name}.{service['metadata']['name']}:7000")
    assert all(flags(pod, "0")["peers"] == ",".join(where) for pod in PODS.values())


def test_each_shard_is_cut_as_compose_cuts_it() -> None:
    (init,) = PODS["peer-0"]["spec"]["initContainers"]
    (line,) = (line for line in init["args"][0].splitlines() if line.startswith("edgekd split"))
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())["services"]["split"]["command"][0]
    assert line in compose.splitlines()
    assert split.make_context("split", shlex.split(line)[2:])


def started(folder: Path, program: str, *arguments: str, shell: str = "sh", **more: str) -> subprocess.Popen[str]:
    """The container's command, with `program` (lines for sh) in edgekd's place; `more` of the environment."""
    edgekd = folder / "edgekd"
    edgekd.write_text(f'#!/bin/sh\ntrap "exit 0" TERM\n{program}\n')
    edgekd.chmod(0o755)
    command = [shell, *peer_of(PODS["peer-0"])["command"][1:], *arguments]
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **more}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_peer_that_is_done_ends_its_job(tmp_path: Path) -> None:
    with started(tmp_path, 'echo "$*"', "peer", "--out=/a b") as done:
        assert done.stdout is not None
        assert done.stdout.read() == "peer --out=/a b\n"
        assert done.wait(10) == 0


def test_stopped_peer_does_not_end_its_job(tmp_path: Path) -> None:
    with started(tmp_path, "echo started; sleep 60 & wait") as stopped:
        assert stopped.stdout is not None
        assert stopped.stdout.readline() == "started\n"
        stopped.terminate()
        assert stopped.wait(10) == 143
        stopped.stdout.close()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("nth", [2, 3])
def test_peer_that_is_stopped_as_it_starts_does_stop(tmp_path: Path, nth: int) -> None:
    """The signal comes just before the nth of the shell's commands, of which the first says what it is to do then."""
    debug = tmp_path / "debug"
    debug.write_text(f"n=0; trap '[ $((++n)) = {nth} ] && sleep 0.2 && kill -TERM $$' DEBUG\n")
    with started(tmp_path, "sleep 5 >&- & wait", shell="bash", BASH_ENV=str(debug)) as stopped:
        assert stopped.wait(4) == 143
