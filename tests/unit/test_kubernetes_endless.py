"""deploy/kubernetes-endless.yaml: what a cluster would take; else as in kubernetes.yaml, but for the end."""

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import test_kubernetes as jobs
import yaml

from edgekd.cli.peer import command as peer

ITEMS = yaml.safe_load((jobs.DEPLOY / "kubernetes-endless.yaml").read_text())["items"]
SERVICE, STATEFUL = ITEMS
SPEC = STATEFUL["spec"]
POD = SPEC["template"]["spec"]
JOB = jobs.PODS["peer-0"]["spec"]
PEER, THEIRS = jobs.peer_of(SPEC["template"]), jobs.peer_of(jobs.PODS["peer-0"])
NAMES = [f"{STATEFUL['metadata']['name']}-{number}" for number in range(SPEC["replicas"])]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item["kind"])
def test_each_object_is_what_kubernetes_knows(item: dict[str, Any]) -> None:
    kubernetes_validate.validate(item, "1.30", strict=True)


def test_pods_may_do_no_more_than_those_of_the_jobs() -> None:
    for key in ("securityContext", "automountServiceAccountToken"):
        assert POD[key] == JOB[key]
    assert not [key for key in POD if key.startswith("host")]
    for ours, theirs in ((PEER, THEIRS), (POD["initContainers"][0], JOB["initContainers"][0])):
        for key in ("image", "imagePullPolicy", "securityContext", "resources", "readinessProbe", "ports"):
            assert ours.get(key) == theirs.get(key), key


def test_each_pod_sees_its_own_keys_alone_and_keeps_its_results() -> None:
    mounts, theirs = (jobs.named(each["volumeMounts"]) for each in (PEER, THEIRS))
    assert mounts["keys"].pop("subPathExpr") == "$(POD)"
    assert mounts == theirs
    assert PEER["env"] == [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    keys = jobs.named(POD["volumes"])["keys"]["projected"]
    assert keys["defaultMode"] == 0o400
    for id, (name, source) in enumerate(zip(NAMES, keys["sources"], strict=True)):
        assert source["secret"]["name"] == f"edgekd-keys-{id}"
        paths = {item["key"]: item["path"] for item in source["secret"]["items"]}
        assert paths == {file: f"{name}/{file}" for file in ("ca.pem", "cert.pem", "key.pem")}
    assert [claim["metadata"]["name"] for claim in SPEC["volumeClaimTemplates"]] == ["results"]
    assert "results" not in jobs.named(POD["volumes"])


@pytest.mark.parametrize("name", NAMES)
def test_peer_has_the_id_of_its_pod_trains_without_end_and_gets_the_signal_to_stop(tmp_path: Path, name: str) -> None:
    edgekd = tmp_path / "edgekd"
    edgekd.write_text('#!/bin/sh\necho $$ "$@"\n')
    edgekd.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "POD": name}
    with subprocess.Popen(
        [*PEER["command"], *PEER["args"]], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid, verb, config, *flags = shlex.split(process.stdout.read())
    assert int(pid) == process.pid, "no shell is left between Kubernetes and the peer"
    assert (verb, config) == ("peer", "--config=/etc/edgekd/peer.toml")
    given = peer.make_context("peer", [f"--config={jobs.DEPLOY / 'peer.toml'}", *flags]).params
    assert (given["id"], given["steps"], given["wait_for"]) == (NAMES.index(name), 0, 0)
    assert (given["listen"], given["resume"], given["out"]) == ("0.0.0.0:7000", True, Path("/results"))
    assert given["peers"] == ",".join(f"{id}@{each}.{SPEC['serviceName']}:7000" for id, each in enumerate(NAMES))


def test_pods_are_named_by_their_service() -> None:
    assert SERVICE["metadata"]["name"] == SPEC["serviceName"]
    assert SERVICE["spec"]["clusterIP"] == "None"
    assert SERVICE["spec"]["publishNotReadyAddresses"]
    labels = SPEC["template"]["metadata"]["labels"]
    assert SERVICE["spec"]["selector"].items() <= labels.items()
    assert SPEC["selector"]["matchLabels"].items() <= labels.items()


def test_each_shard_is_cut_as_that_of_a_job() -> None:
    ours, theirs = (each["initContainers"][0]["args"][0].splitlines() for each in (POD, JOB))
    assert ours == ["ID=${POD##*-}", *theirs]
