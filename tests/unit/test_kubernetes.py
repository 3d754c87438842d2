"""deploy/kubernetes.yaml: what a cluster would take, and what its containers may not do."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from edgekd.cli.peer import command as peer

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ITEMS = yaml.safe_load((DEPLOY / "kubernetes.yaml").read_text())["items"]
PODS = {item["metadata"]["name"]: item["spec"]["template"] for item in ITEMS if item["kind"] == "Job"}
CONTAINERS = [
    pytest.param(container, id=f"{name}-{container['name']}")
    for name, pod in PODS.items()
    for container in pod["spec"]["initContainers"] + pod["spec"]["containers"]
]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: f"{item['kind']}-{item['metadata']['name']}")
def test_each_object_is_what_kubernetes_knows(item: dict[str, Any]) -> None:
    kubernetes_validate.validate(item, "1.30", strict=True)


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_pods_run_as_a_user_without_rights_and_without_the_cluster_s_token(pod: dict[str, Any]) -> None:
    allowed = pod["spec"]["securityContext"]
    assert allowed["runAsNonRoot"]
    assert allowed["runAsUser"] > 0
    assert allowed["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_have_no_capabilities_and_write_to_their_volumes_alone(container: dict[str, Any]) -> None:
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert written == {"/tmp", "/shard" if container["name"] == "split" else "/results"}


@pytest.mark.parametrize("name", PODS)
def test_peers_have_their_own_keys_and_results_alone(name: str) -> None:
    id = name.removeprefix("peer-")
    pod = PODS[name]
    assert pod["metadata"]["labels"]["peer"] == id
    assert pod["spec"]["hostname"] == name
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert volumes["keys"]["secret"]["secretName"] == f"edgekd-keys-{id}"
    assert volumes["results"]["persistentVolumeClaim"]["claimName"] == f"edgekd-results-{id}"


def test_peers_are_started_with_flags_that_there_are_and_the_settings_that_compose_has() -> None:
    (container,) = PODS["peer-0"]["spec"]["containers"]
    verb, config, *flags = (argument.replace("$(ID)", "0") for argument in container["args"])
    assert (verb, config) == ("peer", "--config=/etc/edgekd/peer.toml")
    given = peer.make_context("peer", [f"--config={DEPLOY / 'peer.toml'}", *flags])
    assert given.params["id"] == 0
