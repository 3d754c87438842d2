"""The charts of the page, as options of ECharts: plain dictionaries and lists. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekd.protocol.messages import Neighbour
from peer.dashboard.group import Condition, Group, Peer, rates
from peer.dashboard.history import History, Quantity, sampled

Options = dict[str, Any]

FEW = 12  # peers; up to this number each has its own colour
MOST_DRAWN = 4000  # points of all lines of a chart together, at most

PALETTE = (
    *("#2f7ed8", "#e8710a", "#12a37f", "#c2378a", "#8a63d2", "#b58900"),
    *("#00a3bf", "#d64545", "#5b8c2a", "#7a6652", "#6b7fd7", "#9a9a9a"),
)
LEVELS = ((0.05, "#2a9d8f"), (0.1, "#8ab17d"), (0.2, "#e9b44c"), (0.4, "#ee8959"), (1.0, "#d1495b"))
"""Colours of a disagreement, each for values below a limit."""
UNKNOWN = "#9aa3ad"  # of an edge without a known disagreement
GONE = "#d1495b"
HOLLOW = "rgba(128, 128, 128, 0.15)"


@dataclass(frozen=True, slots=True)
class Ink:
    """Colours of texts and lines."""

    text: str
    faint: str
    line: str


LIGHT = Ink("#1f2933", "#52606d", "#dde2e7")
DARK = Ink("#e4e7eb", "#a3aeb9", "#333c46")


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """Two peers that exchange predictions, as one or both of them report."""

    one: int  # the smaller id
    other: int  # the larger id
    up: bool  # all reports of peers that answer say so
    disagreement: float | None  # the larger of both reports, in [0, 1]
    age: int | None  # steps since predictions arrived, the larger of both reports
    rate: float  # bytes a second, both ways together


def edges(group: Group) -> list[Edge]:
    """All pairs of peers of which at least one reports the other as a neighbour, ordered by ids."""
    said: dict[tuple[int, int], list[tuple[Peer, Neighbour, float]]] = {}
    for peer in group.peers.values():
        by = rates(peer)
        for each in peer.status.neighbours if peer.status else ():
            if each.id != peer.id:
                said.setdefault(_pair(peer.id, each.id), []).append((peer, each, by.get(each.id, 0.0)))
    return [_edge(one, other, views, group) for (one, other), views in sorted(said.items())]


def _pair(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)


def _edge(one: int, other: int, views: list[tuple[Peer, Neighbour, float]], group: Group) -> Edge:
    present = [each for each in views if each[0].condition is Condition.UP]
    ends = [group.peers.get(id) for id in (one, other)]
    gone = any(end is not None and end.condition is Condition.GONE for end in ends)
    apart = [n.disagreement for _, n, _ in present if n.disagreement is not None]
    ages = [n.age for _, n, _ in present if n.age is not None]
    return Edge(
        one=one,
        other=other,
        up=bool(present) and not gone and all(n.up for _, n, _ in present),
        disagreement=max(apart, default=None),
        age=max(ages, default=None),
        rate=max((rate for _, _, rate in views), default=0.0),
    )


def level(disagreement: float | None) -> str:
    """The colour for a disagreement in [0, 1]; None: unknown."""
    if disagreement is None:
        return UNKNOWN
    return next((colour for limit, colour in LEVELS if disagreement < limit), LEVELS[-1][1])


def width(rate: float) -> float:
    """The width of an edge in pixels for a rate in bytes a second. It has few values, so that it changes rarely."""
    return next((pixels for limit, pixels in ((1, 1.0), (1e3, 1.5), (1e4, 2.5), (1e5, 4.0)) if rate < limit), 6.0)


def colours(group: Group) -> dict[int, str]:
    """The colour of each peer's node and lines, by its id."""
    return {id: PALETTE[place % len(PALETTE)] for place, id in enumerate(sorted(group.peers))}


def node_style(peer: Peer, colour: str) -> Options:
    """The style of a peer's node: filled if the peer answers, with a red border if it should answer and does not."""
    here = peer.condition is Condition.UP
    gone = peer.condition is Condition.GONE and not peer.finished
    return {
        "color": colour if here else HOLLOW,
        "borderColor": GONE if gone else colour,
        "borderWidth": 3 if gone else 1.5,
        "borderType": "dashed" if peer.condition is Condition.HEARSAY else "solid",
    }


def graph_frame(ink: Ink, peers: int) -> Options:
    """The ECharts options of the graph of peers without its data, for this number of peers; see `graph_data`."""
    few = peers <= FEW
    series = {
        "id": "graph",
        "type": "graph",
        "layout": "circular",
        "circular": {"rotateLabel": not few},
        "left": 56,
        "right": 56,
        "top": 36,
        "bottom": 36,
        "symbolSize": 34 if few else 11,
        "roam": False,
        "cursor": "pointer",
        "label": {
            "show": True,
            "color": "#ffffff" if few else ink.text,
            "fontSize": 13 if few else 10,
            **(
                {"position": "inside", "fontWeight": "bold", "textBorderColor": "#00000066", "textBorderWidth": 2}
                if few
                else {}
            ),
        },
        "lineStyle": {"opacity": 0.9 if few else 0.4},
        "emphasis": {"focus": "adjacency", "label": {"show": True}},
        "data": [],
        "links": [],
    }
    return {"animation": False, "tooltip": {"confine": True}, "series": [series]}


def graph_data(group: Group, states: Mapping[int, str]) -> Options:
    """The nodes and edges of the graph; `states` is the text for each peer, by id."""
    coloured, few = colours(group), len(group.peers) <= FEW
    nodes = [
        {
            "id": str(id),
            "name": str(id),
            "value": states[id],
            "itemStyle": node_style(peer, coloured[id]),
        }
        for id, peer in sorted(group.peers.items())
    ]
    links = [
        {
            "source": str(each.one),
            "target": str(each.other),
            **({"value": _edge_text(each)} if few else {}),
            "lineStyle": _edge_style(each),
        }
        for each in edges(group)
        if each.one in group.peers and each.other in group.peers
    ]
    return {"series": [{"id": "graph", "data": nodes, "links": links}]}


def _edge_style(edge: Edge) -> Options:
    if not edge.up:
        return {"type": "dashed", "color": UNKNOWN, "width": 1}
    return {"type": "solid", "color": level(edge.disagreement), "width": width(edge.rate)}


def _edge_text(edge: Edge) -> str:
    if not edge.up:
        return "down"
    apart = "" if edge.disagreement is None else f", disagreement {edge.disagreement:.2f}"
    age = "" if edge.age is None else f", age {edge.age} steps"
    return f"{rate_text(edge.rate)}{apart}{age}"


def rate_text(rate: float) -> str:
    """A rate in bytes a second as text, such as ``1.2 kB/s``, with two digits, so that it changes rarely."""
    for unit, size in (("MB/s", 1e6), ("kB/s", 1e3)):
        if rate >= size:
            amount = rate / size
            return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"
    return f"{round(rate, -1):.0f} B/s"


def curves_frame(ink: Ink, quantity: Quantity) -> Options:
    """The ECharts options of the chart of a quantity without its data; see `curves_data`."""
    axis = {
        "axisLabel": {"color": ink.faint, "fontSize": 11, "hideOverlap": True},
        "axisLine": {"lineStyle": {"color": ink.line}},
        "splitLine": {"lineStyle": {"color": ink.line}},
    }
    return {
        "animation": False,
        "grid": {"left": 52, "right": 14, "top": 12, "bottom": 26},
        "tooltip": {"trigger": "item", "confine": True},
        "xAxis": {"type": "value", "min": "dataMin", "max": "dataMax", "minInterval": 1, "splitNumber": 4, **axis},
        "yAxis": {"type": "value", "scale": quantity.name != "lessons", "splitNumber": 4, **axis},
        "series": [],
    }


def curves_data(history: History, quantity: Quantity, coloured: Mapping[int, str], picked: int | None) -> list[Options]:
    """The lines of a chart, one for each peer with a curve.

    Args:
        history: the curves.
        quantity: the one to draw.
        coloured: the colour of each peer, by id.
        picked: the id of the peer to emphasise; None: none.
    """
    few, most = len(coloured) <= FEW, max(20, MOST_DRAWN // max(1, len(coloured)))
    lines = []
    for id, colour in coloured.items():
        points = [[step, round(value, 5)] for step, value in sampled(history.curve(id, quantity), most)]
        if not points:
            continue
        line = {
            "id": f"peer {id}",
            "name": f"peer {id}",
            "type": "line",
            "step": "end" if quantity.name == "accuracy" else False,
            "showSymbol": len(points) == 1,
            "symbolSize": 5,
            "lineStyle": {
                "width": 3 if id == picked else 2 if few else 1,
                "opacity": 1 if few or id == picked else 0.5,
            },
            "color": colour,
            "z": 3 if id == picked else 2,
            "data": points,
        }
        lines.append(line)
    return lines
