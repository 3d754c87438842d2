"""What is announced on a local network, and which of it is dialled."""

from ipaddress import IPv4Interface
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.addresses import MAX_ID
from edgekd.protocol.announcements import KEEP_FOR, MOST_ADDRESSES, Announcement, Roster, nearest

DIGEST = "0a" * 32
LAN, DOCKER = IPv4Interface("192.168.1.5/24"), IPv4Interface("172.17.0.1/16")
LOOPBACK = IPv4Interface("127.0.0.1/8")


@given(st.integers(0, 2**31 - 1), st.integers(1, 2**63 - 1), st.integers(0, 99))
def test_what_is_announced_is_understood(id: int, instance: int, major: int) -> None:
    told = Announcement(id=id, instance=instance, contract=DIGEST, major=major)
    assert Announcement.from_texts({**told.texts(), "later": "more"}) == told
    assert len(told.name) < 64, "the longest that a name in the DNS may be"


@pytest.mark.parametrize("name", ["id", "instance", "major", "contract"])
@pytest.mark.parametrize("value", [None, "", "-1", "1e3", "x" * 300, "٣"])
def test_nonsense_is_refused(name: str, value: str | None) -> None:
    texts: dict[str, str | None] = {"id": "1", "instance": "2", "major": "1", "contract": DIGEST, name: value}
    with pytest.raises(RemoteProtocolError, match=name):
        Announcement.from_texts(texts)


def test_id_that_no_peer_can_have_is_refused() -> None:
    texts = {"id": str(MAX_ID + 1), "instance": "2", "major": "1", "contract": DIGEST}
    with pytest.raises(RemoteProtocolError, match="id is at most"):
        Announcement.from_texts(texts)


@pytest.mark.parametrize(
    ("announced", "dialled"),
    [
        (["192.168.1.9"], ["192.168.1.9"]),
        (["172.17.0.1", "192.168.1.9"], ["192.168.1.9"]),  # its Docker bridge has the address of ours
        (["172.18.0.1", "192.168.1.9"], ["192.168.1.9"]),  # a bridge that only it has
        (["10.9.0.1", "10.9.0.2"], ["10.9.0.1", "10.9.0.2"]),  # told of by a router: some other network
        (["192.168.1.5", "172.17.0.1"], ["192.168.1.5"]),  # on this very box
        (["127.0.0.1"], ["127.0.0.1"]),
        ([], []),
    ],
)
def test_addresses_that_others_can_reach_are_dialled(announced: list[str], dialled: list[str]) -> None:
    assert nearest(announced, [LAN, DOCKER, LOOPBACK]) == dialled


def test_each_address_is_to_be_dialled_once() -> None:
    roster = Roster()
    assert roster.announced("a", ["10.0.0.1:7000"]) == ["10.0.0.1:7000"]
    assert roster.announced("a", ["10.0.0.1:7000"]) == []
    assert roster.announced("its next instance", ["10.0.0.1:7000"]) == []
    assert roster.stale(1e9) == []


def test_address_is_kept_for_ten_minutes_after_its_last_announcement_has_gone() -> None:
    roster = Roster()
    for name in ("a", "b"):
        roster.announced(name, ["10.0.0.1:7000"])
    roster.gone("a", 100.0)
    roster.gone("b", 150.0)
    assert roster.stale(149.0 + KEEP_FOR) == []
    assert roster.stale(150.0 + KEEP_FOR) == ["10.0.0.1:7000"]
    assert roster.stale(1e9) == []
    assert roster.announced("a", ["10.0.0.1:7000"]) == ["10.0.0.1:7000"], "as if it were new"


def test_announcement_that_comes_back_in_time_is_kept() -> None:
    roster = Roster()
    roster.announced("a", ["10.0.0.1:7000"])
    roster.gone("a", 100.0)
    roster.announced("a", ["10.0.0.1:7000"])
    assert roster.stale(1e9) == []


def test_who_is_not_heard_of_again_after_all_were_lost_sight_of_is_gone() -> None:
    roster = Roster()
    for number in range(2):
        roster.announced(f"peer {number}", [f"10.0.0.{number}:7000"])
    roster.all_gone(100.0)
    roster.all_gone(200.0)
    assert roster.announced("peer 1", ["10.0.0.1:7000"]) == []
    assert roster.stale(100.0 + KEEP_FOR) == ["10.0.0.0:7000"]


def test_address_that_a_peer_has_left_is_stale_at_once() -> None:
    roster = Roster()
    roster.announced("a", ["10.0.0.1:7000"])
    assert roster.announced("a", ["10.0.0.2:7000"]) == ["10.0.0.2:7000"]
    assert roster.stale(0.0) == ["10.0.0.1:7000"]


heard = st.tuples(st.sampled_from("abcd"), st.lists(st.integers(0, 40), max_size=30), st.booleans())


@given(st.lists(heard, max_size=20))
def test_whatever_is_announced_so_many_addresses_are_dialled_and_no_more(announcements: list[Any]) -> None:
    roster, dialled = Roster(limit=6), set[str]()
    for name, numbers, looks in announcements:
        new = roster.announced(name, [f"10.0.0.{number}:7000" for number in numbers])
        assert len(new) <= MOST_ADDRESSES
        assert dialled.isdisjoint(new)
        dialled.update(new)
        assert len(dialled) <= 6
        if looks:
            dialled.difference_update(roster.stale(0.0))
    assert set(roster.stale(0.0)) <= dialled


def test_address_that_found_no_room_is_dialled_when_it_is_announced_again_and_there_is_some() -> None:
    roster = Roster(limit=MOST_ADDRESSES)
    roster.announced("a", [f"10.0.0.{number}:7000" for number in range(400)])
    assert roster.announced("b", ["10.0.1.1:7000"]) == []
    roster.gone("a", 0.0)
    assert len(roster.stale(KEEP_FOR)) == MOST_ADDRESSES
    assert roster.announced("b", ["10.0.1.1:7000"]) == ["10.0.1.1:7000"]


def test_so_many_are_remembered_and_no_more() -> None:
    roster = Roster(limit=2)
    assert [bool(roster.announced(str(i), [f"10.0.0.{i}:7000"])) for i in range(4)] == [True, True, False, False]
    roster.gone("3", 0.0)  # nobody that it knows
    roster.gone("0", 0.0)
    assert roster.stale(KEEP_FOR) == ["10.0.0.0:7000"]
    assert roster.announced("3", ["10.0.0.3:7000"]) == ["10.0.0.3:7000"]
