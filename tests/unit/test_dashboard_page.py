"""What the page of a group shows, as plain data, and who may see it."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from hellos import CONTRACT, hello
from test_dashboard_group import WHERE, answered, neighbour, status

from peer.dashboard.charts import (
    FEW,
    LIGHT,
    MOST_DRAWN,
    PALETTE,
    UNKNOWN,
    colours,
    curves_data,
    curves_frame,
    edges,
    graph_data,
    graph_frame,
    level,
    rate_text,
)
from peer.dashboard.gate import WRONG_AT_ONCE, WRONG_EVERY, Gate, is_from_here
from peer.dashboard.group import Group, begin, on_answer, on_tick
from peer.dashboard.history import QUANTITIES, History
from peer.dashboard.rows import COLUMNS, details, headline, neighbour_rows, row, unanswered, usual_contract


def time_of_day(at: float) -> str:
    return f"{at:g} s"


def three() -> Group:
    """0 and 1 hear each other; 2 is known by hearsay."""
    group = begin(WHERE[:2], 0.0)
    group = answered(group, 0, 1.0, neighbour(1, disagreement=0.3, age=4), neighbour(2, up=False), refused={"old": 2})
    return answered(group, 1, 1.0, neighbour(0, disagreement=0.1, age=2))


def nodes(group: Group) -> dict[str, Any]:
    return {each["id"]: each for each in graph_data(group, dict.fromkeys(group.peers, ""))["series"][0]["data"]}


def test_edge_is_the_worse_of_what_its_two_peers_say() -> None:
    first, second = edges(three())
    assert (first.one, first.other, first.up, first.disagreement, first.age) == (0, 1, True, 0.3, 4)
    assert (second.one, second.other, second.up) == (0, 2, False)


def test_edge_to_a_peer_that_has_gone_is_down_though_its_neighbour_has_not_noticed() -> None:
    group = answered(three(), 0, 9.0, neighbour(1))
    group = on_tick(group, 9.0)
    (edge,) = [each for each in edges(group) if each.other == 1]
    assert not edge.up
    assert nodes(group)["1"]["itemStyle"]["borderWidth"] == 3


def test_graph_draws_down_edges_dashed_and_others_in_the_colour_of_disagreement() -> None:
    links = graph_data(three(), dict.fromkeys(range(3), ""))["series"][0]["links"]
    assert [each["lineStyle"]["type"] for each in links] == ["solid", "dashed"]
    assert [each["lineStyle"]["color"] for each in links] == [level(0.3), UNKNOWN]
    assert [each["value"] for each in links] == ["0 B/s, disagreement 0.30, age 4 steps", "down"]
    assert nodes(three())["2"]["itemStyle"]["borderType"] == "dashed"


def test_disagreement_has_a_colour_over_all_its_range() -> None:
    shown = [level(value) for value in (None, 0.0, 0.07, 0.15, 0.3, 0.9, 1.0)]
    assert len(set(shown)) == 6
    assert shown[0] == UNKNOWN
    assert shown[-1] == shown[-2]


def test_nodes_and_lines_of_a_peer_have_one_colour() -> None:
    group, history = three(), History()
    history.note(status(1))
    assert colours(group) == dict(enumerate(PALETTE[:3]))
    (line,) = curves_data(history, QUANTITIES[0], colours(group), None)
    assert line["color"] == nodes(group)["1"]["itemStyle"]["color"]


@pytest.mark.parametrize("peers", [2, FEW, FEW + 1, 64])
def test_charts_are_bounded_and_can_be_sent(peers: int) -> None:
    history, coloured = History(), dict.fromkeys(range(peers), "#000000")
    for id in range(peers):
        for step in range(1000):
            history.note(status(id, step=step, first_step=0, lessons=step))
    for quantity in QUANTITIES:
        lines = curves_data(history, quantity, coloured, 1)
        assert sum(len(line["data"]) for line in lines) <= MOST_DRAWN
        json.dumps([lines, curves_frame(LIGHT, quantity), graph_frame(LIGHT, peers)], allow_nan=False)


def test_row_of_a_peer_that_answers_has_gone_or_is_seen_by_others_only() -> None:
    group = three()
    here = row(group.peers[0], time_of_day, None)
    assert set(here) == {name for name, _ in COLUMNS} | {"id", "tone"}
    assert (here["state"], here["step"], here["up"], here["refused"], here["tone"]) == (
        "training",
        "10/100",
        "1/2",
        "old 2",
        "good",
    )
    hearsay = row(group.peers[2], time_of_day, None)
    assert (hearsay["state"], hearsay["step"], hearsay["tone"]) == ("seen by others only", "-", "faint")
    gone = row(on_tick(group, 60.0).peers[1], time_of_day, None)
    assert (gone["state"], gone["tone"]) == ("gone since 1 s", "bad")
    ended = row(on_tick(answered(group, 1, 2.0, step=100), 60.0).peers[1], time_of_day, None)
    assert (ended["state"], ended["tone"]) == ("ended since 2 s", "faint")
    failing = row(answered(group, 1, 2.0, failing=("checkpoint",)).peers[1], time_of_day, None)
    assert (failing["state"], failing["trouble"], failing["tone"]) == ("training", "cannot write checkpoint", "bad")


def test_headline_counts_and_an_address_where_nobody_ever_answered_is_named() -> None:
    assert headline(three()) == "2 up, 1 seen by others only"
    assert headline(on_tick(three(), 60.0)) == "0 up, 2 gone"
    assert unanswered(three()) == []


def test_details_and_neighbours_of_a_peer() -> None:
    facts = dict(details(three().peers[0], time_of_day))
    assert (facts["address"], facts["accuracy"], facts["best accuracy"]) == (WHERE[0], "0.500", "-")
    assert [(each["id"], each["up"], each["disagreement"]) for each in neighbour_rows(three().peers[0])] == [
        (1, "up", "0.30"),
        (2, "down", "-"),
    ]


def test_peer_of_another_contract_is_told_from_its_group() -> None:
    group = three()
    assert usual_contract(group) is None
    other = hello(3, contract=replace(CONTRACT, temperature=4.0))
    group = on_answer(begin([WHERE[3]], 0.0), WHERE[3], other, status(3), 1.0)
    group = replace(group, peers={**three().peers, **group.peers})
    contract = usual_contract(group)
    assert contract == CONTRACT.digest()
    assert "other settings" in row(group.peers[3], time_of_day, contract)["trouble"]
    assert row(group.peers[0], time_of_day, contract)["trouble"] == "-"


def test_rates_are_short() -> None:
    assert [rate_text(rate) for rate in (0, 123, 1234, 45_678, 3.21e6)] == [
        "0 B/s",
        "120 B/s",
        "1.2 kB/s",
        "46 kB/s",
        "3.2 MB/s",
    ]


@pytest.mark.parametrize(
    ("host", "origin", "only_loopback", "may"),
    [
        ("127.0.0.1:8070", None, True, True),
        ("localhost:8070", "http://localhost:8070", True, True),
        ("[::1]:8070", None, True, True),
        ("localhost", None, True, True),
        ("evil.example:8070", None, True, False),
        ("127.0.0.1:8070", "http://evil.example", True, False),
        ("127.0.0.1:8070", "null", True, False),
        ("", None, True, False),
        ("box-a:8070", None, False, True),
        ("box-a:8070", "http://box-a:8070", False, True),
        ("box-a:8070", "http://evil.example:8070", False, False),
    ],
)
def test_only_the_page_itself_may_ask(host: str, origin: str | None, only_loopback: bool, may: bool) -> None:
    assert is_from_here(host, origin, only_loopback=only_loopback) is may


def through(gate: Gate, kind: str = "http", **headers: str) -> list[Any]:
    """What the gate sends in answer to a request."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": f"{kind}.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in {"host": "127.0.0.1:80", **headers}.items()]
    asyncio.run(gate({"type": kind, "headers": raw}, receive, send))
    return sent


async def inside(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


def test_cookie_of_a_known_browser_is_as_good_as_the_password_and_no_other_is() -> None:
    gate = Gate(inside, "secret")
    (answer,) = through(gate, authorization="Basic bWU6c2VjcmV0")
    cookie = dict(answer["headers"])[b"set-cookie"].decode()
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert through(gate, cookie=cookie.partition(";")[0])[0]["status"] == 200
    assert through(gate, cookie="edgekd=x")[0]["status"] == 401
    assert through(gate, "websocket")[0] == {"type": "websocket.close", "code": 1008}
    assert through(Gate(inside, "secret"), cookie=cookie.partition(";")[0])[0]["status"] == 401


@pytest.mark.parametrize("header", ["Basic \xe9", "Basic !!!", "Basic", "Bearer bWU6c2VjcmV0"])
def test_header_that_holds_no_password_is_a_wrong_one(header: str) -> None:
    raw = [(b"host", b"127.0.0.1:80"), (b"authorization", header.encode("latin-1"))]
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Gate(inside, "secret")({"type": "http", "headers": raw}, receive_nothing, send))
    assert sent[0]["status"] == 401


async def receive_nothing() -> Any:
    return {"type": "http.request"}


def test_wrong_passwords_are_bounded_as_a_whole_and_hold_up_no_known_browser() -> None:
    wrong, right, now = "Basic bWU6d3Jvbmc=", "Basic bWU6c2VjcmV0", 0.0
    gate = Gate(inside, "secret", clock=lambda: now)
    cookie = dict(through(gate, authorization=right)[0]["headers"])[b"set-cookie"].decode().partition(";")[0]
    codes = [through(gate, authorization=wrong)[0]["status"] for _ in range(5000)]
    assert codes == [401] * WRONG_AT_ONCE + [429] * (5000 - WRONG_AT_ONCE)
    assert through(gate, authorization=right)[0]["status"] == 429  # else a guess would find it
    assert through(gate, "websocket", authorization=right)[0]["code"] == 1008
    assert through(gate, authorization=wrong, cookie=cookie)[0]["status"] == 200
    assert through(gate)[0]["status"] == 401  # a browser has to hear that a password is wanted
    now = WRONG_EVERY
    assert through(gate, authorization=right)[0]["status"] == 200
    assert through(gate, authorization=right)[0]["status"] == 200  # right ones are not counted
    assert [through(gate, authorization=wrong)[0]["status"] for _ in range(2)] == [401, 429]
