"""deploy/edgekd-peer.service: systemd takes it, it exposes little, and it starts again what a restart may mend."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.cli.peer import command as peer
from edgekd.config import from_mapping, read_toml
from edgekd.exit_codes import NO_RESTART
from edgekd.protocol.timing import TIMINGS

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNIT = DEPLOY / "edgekd-peer.service"
MOST_EXPOSED = 1.5  # of 10; 1.4 by systemd 252

analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


def service() -> dict[str, str]:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    return dict(unit["Service"])


def analyzed(*arguments: object) -> str:
    done = subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@analyze
@pytest.mark.parametrize("gpu", [False, True])
def test_systemd_takes_the_unit_without_a_word(tmp_path: Path, gpu: bool) -> None:
    unit = tmp_path / UNIT.name  # with a program that is there
    text = UNIT.read_text()
    assert text.count("/opt/edgekd/bin/edgekd") == 1
    unit.write_text(text.replace("/opt/edgekd/bin/edgekd", sys.executable))
    if gpu:
        (tmp_path / f"{UNIT.name}.d").mkdir()
        shutil.copy(DEPLOY / "edgekd-peer-gpu.conf", tmp_path / f"{UNIT.name}.d" / "gpu.conf")
    said = analyzed("verify", "--man=no", unit)
    assert [line for line in said.splitlines() if "edgekd" in line] == []


@analyze
def test_service_exposes_little_of_the_box() -> None:
    found = re.search(
        r"Overall exposure level for edgekd-peer.service: ([\d.]+)",
        analyzed("security", "--offline=true", "--no-pager", UNIT),
    )
    assert found is not None
    assert float(found[1]) <= MOST_EXPOSED


def test_service_is_started_again_but_not_after_what_a_restart_cannot_mend() -> None:
    given = service()
    assert given["Restart"] == "on-failure"
    assert given["RestartPreventExitStatus"].split() == [str(int(code)) for code in NO_RESTART]


def test_service_is_given_the_time_that_a_peer_takes_to_end() -> None:
    longest = max(timing.stop_timeout for timing in TIMINGS.values())
    assert float(service()["TimeoutStopSec"]) > 10 * longest, "a step and a checkpoint come first"


def test_service_starts_a_peer_with_the_flags_and_settings_of_the_page(tmp_path: Path) -> None:
    program, verb, *flags = shlex.split(service()["ExecStart"])
    assert (Path(program).name, verb, flags.pop()) == ("edgekd", "peer", "$PEER_FLAGS")
    page = (DEPLOY.parent / "docs" / "operating.md").read_text()
    (more,) = re.findall(r"^PEER_FLAGS=(.*)$", page, re.MULTILINE)
    file = tmp_path / "peer.toml"
    file.write_text(page.partition("cat > peer.toml <<'END'")[2].partition("\n")[2].partition("END\n")[0])
    config = from_mapping(read_toml(file))
    assert (config.data.private, config.train.steps) == ("folder:/srv/pictures", 0)
    assert config.exchange.certs == "/etc/edgekd/keys"
    flags = [str(file) if flag == "/etc/edgekd/peer.toml" else flag for flag in flags]
    given = peer.make_context("peer", [*flags, *shlex.split(more)]).params
    assert (given["config"], given["id"], given["resume"]) == (file, 2, True)
    assert given["listen"] == "0.0.0.0:7000"
