"""deploy/prometheus.yml, its rules and Grafana's dashboard, with a real Prometheus that scrapes three real peers."""

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from forked import Forked
from processes import DEADLINE, Process, addresses, start

from edgekd.protocol.messages import Heartbeat
from peer.transports.base import StreamClosedError
from peer.transports.grpc.transport import GrpcTransport

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
GRAFANA = DEPLOY / "grafana"
CONFIG = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
(RULES,) = (group["rules"] for group in yaml.safe_load((DEPLOY / "prometheus-rules.yml").read_text())["groups"])
DASHBOARD = json.loads((GRAFANA / "dashboards" / "edgekd.json").read_text())
PANELS = DASHBOARD["panels"]
SMALL = ["--data", "digits", "--limit", 300, "--model", "mobilenet_v3_small", "--batch", 8, "--public-batch", 8]
SMALL += ["--steps", 100_000, "--eval-every", 5, "--threads", 1, "--metrics-port", 0, "--json"]

prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Prometheus")


@pytest.fixture
def started() -> Iterator[list[Process]]:
    """Processes that end with the test."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.close()


def expressions() -> dict[str, str]:
    """Every query of the dashboard, as Prometheus takes it, by its panel and its letter."""
    found = {f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]}
    return {name: text.replace("$__rate_interval", "30s").replace("$instance", ".*") for name, text in found.items()}


def metrics_at(peer: Process) -> str:
    """Where a peer serves its metrics, "HOST:PORT"."""
    peer.until_says("serving metrics on")
    (line,) = (line for line in peer.err if "serving metrics on" in line)
    return urllib.parse.urlsplit(line.split()[-1]).netloc


def asked(where: str, path: str, **parameters: str) -> Any:
    """The data of an answer of Prometheus."""
    url = f"http://{where}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
        return json.load(answer)["data"]


def until(holds: Callable[[], Any], what: object) -> Any:
    """What `holds()` returns once it is true."""
    deadline = time.monotonic() + DEADLINE
    while True:
        with contextlib.suppress(OSError):
            if found := holds():
                return found
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


async def say_nonsense(address: str) -> None:
    """Begin a stream with something else than a Hello, and wait to be turned away."""
    transport = GrpcTransport(1 << 16)
    stream = await transport.dial(address, timeout=DEADLINE)
    await stream.send(Heartbeat(step=0, steps=0, round=0, done=False))
    with contextlib.suppress(StreamClosedError):
        while True:
            await stream.receive()
    await transport.close()


@prometheus
def test_every_query_has_an_answer_about_three_peers_and_alerts_tell_who_is_gone(
    started: list[Process], tmp_path: Path
) -> None:
    listen = addresses(3)
    for id, address in enumerate(listen):
        others = ",".join(each for each in listen if each != address)
        where = ["--id", id, "--listen", address, "--peers", others, "--wait-for", 2]
        command = ["peer", *where, *SMALL, "--out", tmp_path / f"peer-{id}"]
        started.append(Process(Forked([str(each) for each in command], tmp_path)))
    peers = list(started)
    targets = [metrics_at(peer) for peer in peers]
    for peer in peers:
        peer.until_exchanging(2)
    asyncio.run(say_nonsense(listen[0]))

    (scraped,) = CONFIG["scrape_configs"]
    scraped["static_configs"] = [{"targets": targets}]
    quick = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({**CONFIG, "global": quick}))
    shutil.copy(DEPLOY / "prometheus-rules.yml", tmp_path)
    (where,) = addresses(1)
    flags = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={where}"]
    started.append(start(flags, tmp_path, program=["prometheus"]))

    for name, text in expressions().items():
        found = until(lambda text=text: asked(where, "query", query=text)["result"], (name, text))
        print(f"{name}: {text}: {len(found)} series")
    for rule in RULES:
        if "record" in rule:
            found = until(lambda rule=rule: asked(where, "query", query=rule["record"])["result"], rule)
            print(f"{rule['record']}: {len(found)} series")
    texts = [*expressions().values(), *(rule["expr"] for rule in RULES)]
    named = set(re.findall(r"\b(?:edgekd|process)_\w+", " ".join(texts)))
    assert named <= set(asked(where, "label/__name__/values"))

    for peer in peers[1:]:
        peer.kill9()

    def alerts() -> dict[str, set[str]]:
        raised: dict[str, set[str]] = {}
        for alert in asked(where, "alerts")["alerts"]:
            raised.setdefault(alert["labels"]["alertname"], set()).add(alert["labels"]["instance"])
        return raised

    expected = {
        "EdgekdRefusals": {targets[0]},
        "EdgekdPeerGone": set(targets[1:]),
        "EdgekdNoNeighbours": {targets[0]},
    }
    until(lambda: alerts() == expected, expected)
    print(alerts())
    (group,) = asked(where, "rules")["groups"]
    assert [rule["name"] for rule in group["rules"]] == [rule.get("record") or rule["alert"] for rule in RULES]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}


@prometheus
def test_promtool_takes_settings_and_rules() -> None:
    checked = subprocess.run(
        ["promtool", "check", "config", DEPLOY / "prometheus.yml"], capture_output=True, text=True, timeout=DEADLINE
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(RULES)} rules found" in checked.stdout


STATE = {"job": "edgekd", "instance": "box-a:9100"}
LABELS = 'job="edgekd", instance="box-a:9100"'
FIRES: dict[str, tuple[dict[str, str], dict[str, str]]] = {  # series that raise the alert, and its labels beside STATE
    "EdgekdPeerGone": ({f"up{{{LABELS}}}": "0x60"}, {"severity": "warning"}),
    "EdgekdNoNeighbours": ({f"edgekd_neighbours_up{{{LABELS}}}": "0x60"}, {"severity": "warning"}),
    "EdgekdCannotWrite": (
        {f'edgekd_write_failed{{{LABELS}, file="checkpoint"}}': "1x60"},
        {"severity": "critical", "file": "checkpoint"},
    ),
    "EdgekdNoSteps": (
        {f"edgekd_steps_total{{{LABELS}}}": "7x60", f'edgekd_state{{{LABELS}, state="training"}}': "1x60"},
        {"severity": "critical"},
    ),
    "EdgekdRefusals": (  # the first one for its reason: the series begins with it
        {f'edgekd_refused_total{{{LABELS}, reason="shape"}}': "_x25 1x34"},
        {"severity": "warning", "reason": "shape"},
    ),
    "EdgekdAccuracyFell": ({f"edgekd_accuracy_falls_total{{{LABELS}}}": "0x25 1x34"}, {"severity": "warning"}),
}
QUIET = {  # of a healthy peer, of one that lingers, and of a refusal of long ago
    f"up{{{LABELS}}}": "1x60",
    f"edgekd_neighbours_up{{{LABELS}}}": "2x60",
    f'edgekd_write_failed{{{LABELS}, file="checkpoint"}}': "0x60",
    f"edgekd_steps_total{{{LABELS}}}": "7x60",
    f'edgekd_state{{{LABELS}, state="training"}}': "0x60",
    f'edgekd_state{{{LABELS}, state="lingering"}}': "1x60",
    f'edgekd_refused_total{{{LABELS}, reason="shape"}}': "3x60",
    f"edgekd_accuracy_falls_total{{{LABELS}}}": "2x60",
}


def case(series: dict[str, str], raised: str | None) -> dict[str, Any]:
    """A test of promtool's: these series raise this alert and no other."""
    tests = []
    for rule in RULES:
        if "alert" not in rule:
            continue
        expected = []
        if rule["alert"] == raised:
            labels = {**STATE, **FIRES[raised][1]}
            said = re.sub(r"{{ \$labels\.(\w+) }}", r"{\1}", rule["annotations"]["summary"]).format_map(labels)
            expected = [{"exp_labels": labels, "exp_annotations": {"summary": said}}]
        tests.append({"eval_time": "32m", "alertname": rule["alert"], "exp_alerts": expected})
    content = [{"series": name, "values": values} for name, values in series.items()]
    return {"interval": "1m", "input_series": content, "alert_rule_test": tests}


@prometheus
def test_each_alert_is_raised_by_what_it_is_for_and_by_nothing_else(tmp_path: Path) -> None:
    assert sorted(FIRES) == sorted(rule["alert"] for rule in RULES if "alert" in rule)
    cases = [case(QUIET, None), *(case(series, alert) for alert, (series, _) in FIRES.items())]
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(DEPLOY / "prometheus-rules.yml")], "tests": cases}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboard_has_panels_side_by_side_that_all_ask_prometheus() -> None:
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["targets"]
        for asks in (panel, *panel["targets"]):
            assert asks["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    named = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(PANELS)))
    assert used <= named | {"__rate_interval"}
    assert DASHBOARD["schemaVersion"] >= 38, "that of Grafana 10"


def test_grafana_is_told_where_prometheus_and_the_dashboard_are() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://localhost:9090")
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/edgekd.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"] in (DEPLOY.parent / "docs" / "monitoring.md").read_text()
