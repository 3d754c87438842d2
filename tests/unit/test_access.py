"""Who may listen where, and what a peer with keys needs to know of those that it dials."""

import contextlib
import logging
import socket
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edgekd.config import ACCESS, LIVE, Config, ExchangeConfig, from_mapping, to_mapping
from edgekd.errors import ConfigError
from edgekd.keys.certificates import DAYS
from edgekd.keys.keyring import make_keys
from edgekd.lab.sweep.records import COLUMNS, TOGETHER, Cell
from edgekd.protocol.addresses import ids, is_loopback
from peer.node.access import check_access, check_addresses

NOW = datetime.now(timezone.utc)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.8.8", "localhost", "LOCALHOST", "localhost.", "::1", "::ffff:127.0.0.1"]
)
def test_this_boxs_own_hosts_need_no_keys(host: str, caplog: pytest.LogCaptureFixture) -> None:
    assert is_loopback(host)
    where = f"[{host}]:7000" if ":" in host else f"{host}:7000"
    check_access(ExchangeConfig(), 0, where, [])
    check_access(ExchangeConfig(insecure=True), 0, where, [])
    check_access(ExchangeConfig(), 0, None, ["192.168.1.5:7000"])
    assert caplog.messages == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box-a", "localhost.example", "fe80::1%eth0"])
def test_hosts_that_others_reach_need_keys_or_a_word_that_they_do_not(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert not is_loopback(host)
    where = f"[{host}]:7000" if ":" in host else f"{host}:7000"
    with pytest.raises(ConfigError, match=r"is open to other boxes.*--certs DIR.*--insecure"):
        check_access(ExchangeConfig(), 0, where, [])
    check_access(ExchangeConfig(insecure=True), 0, where, [])
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.messages == [
        f"listening on {where} without keys: whoever reaches it can read along and teach this peer"
    ]


@pytest.mark.parametrize(("found", "open_to_others"), [(["127.0.1.1"], False), (["127.0.1.1", "192.168.1.5"], True)])
def test_name_is_this_boxs_own_if_all_its_addresses_are(
    found: list[str], open_to_others: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in found]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: answer)
    with pytest.raises(ConfigError, match="open to other boxes") if open_to_others else contextlib.nullcontext():
        check_access(ExchangeConfig(), 0, "my-box:7000", [])


def test_keys_that_end_soon_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_keys(tmp_path, [0], NOW, DAYS, renew=False)
    exchange = ExchangeConfig(certs=str(tmp_path / "peer-0"))
    check_access(exchange, 0, "0.0.0.0:7000", [])
    assert caplog.messages == []
    make_keys(tmp_path, [0], NOW, 20, renew=True)
    check_access(exchange, 0, "0.0.0.0:7000", [])
    (line,) = caplog.messages
    assert f"ends on {NOW + timedelta(days=20):%Y-%m-%d}" in line
    assert "`edgekd certs --ids 0 --renew`" in line


def test_dialled_peers_have_ids_where_there_are_keys_and_are_allowed() -> None:
    check_addresses(["box-a:7000", "1@box-b:7000"], None)
    check_addresses(["1@box-b:7000"], "certs/peer-0")
    with pytest.raises(ConfigError, match="say which peer is to be there: ID@box-a:7000"):
        check_addresses(["1@box-b:7000", "box-a:7000"], "certs/peer-0")
    check_access(ExchangeConfig(allow="1"), 0, None, ["1@box-b:7000", "0@box-a:7000", "box-c:7000"])
    with pytest.raises(ConfigError, match="names 2@box-c:7000, which --allow 1 would refuse"):
        check_access(ExchangeConfig(allow="1"), 0, None, ["2@box-c:7000"])


def test_allowed_ids_are_a_list_and_none_is_an_error() -> None:
    assert ids(" 3, 1,3") == (3, 1)
    assert ExchangeConfig().allowed() is None
    assert ExchangeConfig(allow="0,2").allowed() == {0, 2}
    with pytest.raises(ConfigError, match="ids are whole numbers from 0 to 2147483647"):
        ExchangeConfig(allow="")


def test_who_gets_in_is_no_part_of_an_experiment() -> None:
    assert to_mapping(Config())["exchange"].keys().isdisjoint(ACCESS)
    plain = Cell(TOGETHER, Config())
    secured = from_mapping({"exchange": {"certs": "certs/peer-0", "allow": "1"}})
    assert Cell(TOGETHER, secured) == plain
    assert plain.name == Cell(TOGETHER, from_mapping({"exchange": {"insecure": True}})).name
    assert set(COLUMNS).isdisjoint(ACCESS)


def test_patience_is_no_part_of_an_experiment() -> None:
    assert to_mapping(Config())["exchange"].keys().isdisjoint(LIVE)
    plain, patient = Cell(TOGETHER, Config()), Cell(TOGETHER, from_mapping({"exchange": {"timing": "wan"}}))
    assert (patient, patient.name) == (plain, plain.name)
    assert "timing" in LIVE
    kept = Cell(TOGETHER, from_mapping({"train": {"keep_best": True}}))
    assert (kept, kept.name) == (plain, plain.name)
    assert set(COLUMNS).isdisjoint(LIVE)


def test_keys_of_another_peer_are_refused_over_either_transport_and_of_a_whole_group_too(tmp_path: Path) -> None:
    make_keys(tmp_path / "certs", [0, 1], NOW, DAYS, renew=False)
    for transport in ("grpc", "zmq"):
        mine = ExchangeConfig(transport=transport, certs=str(tmp_path / "certs" / "peer-0"))
        check_access(mine, 0, "0.0.0.0:7000", ["1@box-b:7000"])
        with pytest.raises(ConfigError, match="are those of peer 0, and this is peer 1"):
            check_access(mine, 1, "0.0.0.0:7000", [])
        with pytest.raises(ConfigError, match=r"keys of a whole group: take those of one, such as .*peer-0"):
            check_access(ExchangeConfig(transport=transport, certs=str(tmp_path / "certs")), 0, "0.0.0.0:7000", [])


def test_each_transport_needs_its_own_keys_alone(tmp_path: Path) -> None:
    make_keys(tmp_path, [0], NOW - timedelta(days=DAYS), 1, renew=False)  # the certificate has expired
    check_access(ExchangeConfig(transport="zmq", certs=str(tmp_path / "peer-0")), 0, "0.0.0.0:7000", [])
    with pytest.raises(ConfigError, match="has expired"):
        check_access(ExchangeConfig(certs=str(tmp_path / "peer-0")), 0, "0.0.0.0:7000", [])
    (tmp_path / "peer-0" / "curve.key_secret").unlink()
    with pytest.raises(ConfigError, match=r"curve\.key_secret"):
        check_access(ExchangeConfig(transport="zmq", certs=str(tmp_path / "peer-0")), 0, "0.0.0.0:7000", [])
