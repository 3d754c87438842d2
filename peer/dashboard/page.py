"""The page in one browser: its layout, and the changes that are sent to it once a second."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from nicegui import events, ui

from peer.dashboard import rows
from peer.dashboard.charts import (
    DARK,
    FEW,
    LEVELS,
    LIGHT,
    UNKNOWN,
    Options,
    colours,
    curves_data,
    curves_frame,
    graph_data,
    graph_frame,
)
from peer.dashboard.event_log import TOGETHER, Event, Kind
from peer.dashboard.group import Condition
from peer.dashboard.history import QUANTITIES
from peer.dashboard.watcher import Watcher

REFRESH_EVERY = 1.0  # seconds
CONNECTS_WITHIN = 30.0  # seconds
SHOWN_EVENTS = 100
GRAPH = "graph"
BAD = (Kind.DOWN, Kind.REFUSED, Kind.CUT_OFF, Kind.TROUBLE)
ASK_SCHEME = "window.matchMedia('(prefers-color-scheme: dark)').matches"

STYLE = Path(__file__).with_name("page.css")

STATE_CELL = """
<q-td :props="props"><span :class="'dot ' + props.row.tone"></span>{{ props.value }}</q-td>
"""


def time_of_day(at: float) -> str:
    """The time of day as "HH:MM:SS" for seconds of the monotonic clock."""
    return datetime.fromtimestamp(time.time() - time.monotonic() + at).strftime("%H:%M:%S")


class Page:
    """What one browser shows of a watcher's group. Make it inside a page function of NiceGUI."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._picked: int | None = None
        self._charts: dict[str, ui.echart] = {}
        self._ready: set[str] = set()  # charts whose browser has drawn everything that was sent
        self._shown: dict[str, dict[str, Any]] = {}  # the series of each chart, by their ids
        self._filled: dict[int, Any] = {}  # the cells of each table
        self._turn = 0
        self._conditions: dict[int, Condition] = {}  # with which the graph was drawn last
        self._few = len(watcher.group.peers) <= FEW
        ui.add_css(STYLE)
        self._mode = ui.dark_mode(None)
        with ui.element("div").classes("page"):
            self._build_top()
            self._build_graph()
            with ui.element("div").classes("curves"):
                for quantity in QUANTITIES:
                    with ui.element("div").classes("card"):
                        ui.label(quantity.title).classes("title")
                        self._add_chart(quantity.name, curves_frame(LIGHT, quantity), "curve")
            self._peers = self._add_table("Peers", rows.COLUMNS, "peers", dot="state")
            self._peers.on("rowClick", lambda event: self._pick(event.args[1]["id"]), args=[[], ["id"], []])
            self._log = self._add_table("Events", (("at", "time"), ("text", "what")), "log", dot="at", text="text")
        self._build_sheet()
        self.refresh()
        ui.timer(REFRESH_EVERY, self.refresh)

    async def follow_browser(self) -> None:
        """Wait until the browser has connected, then use its preferred colour scheme, dark or light."""
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):  # the browser is closed or slow
            await ui.context.client.connected(timeout=CONNECTS_WITHIN)
            self._set_dark(bool(await ui.run_javascript(ASK_SCHEME, timeout=CONNECTS_WITHIN)))

    # -- layout ------------------------------------------------------------------------------------------------------

    def _build_top(self) -> None:
        with ui.element("div").classes("top wide"):
            ui.label("edgekd").classes("brand")
            self._headline = ui.label().classes("headline")
            toggle = ui.button(icon="contrast", on_click=lambda: self._set_dark(not self._mode.value))
            toggle.props("flat round dense color=grey aria-label='light or dark'")
        self._warning = ui.label().classes("warning wide")
        self._warning.set_visibility(False)

    def _build_graph(self) -> None:
        with ui.element("div").classes("card"):
            ui.label("Who hears whom").classes("title")
            chart = self._add_chart(GRAPH, graph_frame(LIGHT, len(self._watcher.group.peers)), GRAPH)
            chart.on_point_click(self._on_node)
            with ui.element("div").classes("legend"):
                ui.label("disagreement:")
                below = 0.0
                for limit, colour in LEVELS:
                    _legend(colour, f"{below:g} to {limit:g}")
                    below = limit
                _legend(UNKNOWN, "unknown")
                ui.label("dashed: down")
                ui.label("wider: more bytes a second")

    def _build_sheet(self) -> None:
        with ui.dialog().props("position=right maximized=false") as self._sheet, ui.element("div").classes("sheet"):
            with ui.element("div").classes("top"):
                self._sheet_title = ui.label().classes("brand headline")
                ui.button(icon="close", on_click=self._sheet.close).props("flat round dense aria-label=close")
            self._facts = _table((("name", ""), ("value", "")), "facts", text="value").props("hide-header")
            ui.label("Neighbours, as it sees them").classes("title")
            self._neighbours = _table(rows.NEIGHBOUR_COLUMNS, "neighbours")
        self._sheet.on("hide", lambda: self._pick(None))

    def _add_chart(self, name: str, options: Options, style: str) -> ui.echart:
        chart = ui.echart(options).classes(style)
        chart.on("chart:finished", lambda: self._ready.add(name), args=[])
        self._charts[name] = chart
        return chart

    def _add_table(self, title: str, columns: Any, style: str, *, dot: str, text: str = "") -> ui.table:
        with ui.element("div").classes("card wide"):
            ui.label(title).classes("title")
            table = _table(columns, style, text=text)
        table.add_slot(f"body-cell-{dot}", STATE_CELL)
        return table

    # -- what the user does ------------------------------------------------------------------------------------------

    def _on_node(self, event: events.EChartPointClickEventArguments) -> None:
        if event.data_type == "node" and event.name.isdecimal():
            self._pick(int(event.name))

    def _pick(self, id: int | None) -> None:
        if id == self._picked:
            return
        self._picked = id
        if id in self._watcher.group.peers:
            self._sheet.open()
        self.refresh()

    def _set_dark(self, dark: bool) -> None:
        self._mode.value = dark
        ink = DARK if dark else LIGHT
        frames = {quantity.name: curves_frame(ink, quantity) for quantity in QUANTITIES}
        frames[GRAPH] = graph_frame(ink, len(self._watcher.group.peers))
        for name, frame in frames.items():
            self._charts[name].options.update(frame)
            self._draw_anew(name)

    # -- once a second -----------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Send to the browser what has changed."""
        group = self._watcher.group
        self._turn += 1
        if self._few != (len(group.peers) <= FEW):
            self._few = not self._few
            self._set_dark(bool(self._mode.value))
        contract = rows.usual_contract(group)
        self._say(self._headline, rows.headline(group))
        self._say(self._warning, "\n".join(rows.unanswered(group)))
        cells = [rows.row(peer, time_of_day, contract) for _, peer in sorted(group.peers.items())]
        self._fill(self._peers, cells)
        happened = [
            {"id": f"{e.at} {e.text}", "at": time_of_day(e.at), "text": e.text + _since(e), "tone": tone(e)}
            for e in reversed(self._watcher.events[-SHOWN_EVENTS:])
        ]
        self._fill(self._log, happened)
        self._refresh_sheet()
        self._refresh_charts({each["id"]: each["state"] for each in cells})

    def _refresh_sheet(self) -> None:
        peer = self._watcher.group.peers.get(-1 if self._picked is None else self._picked)
        if peer is not None:
            self._say(self._sheet_title, f"Peer {peer.id}")
            facts = [{"id": name, "name": name, "value": value} for name, value in rows.details(peer, time_of_day)]
            self._fill(self._facts, facts)
            self._fill(self._neighbours, rows.neighbour_rows(peer))

    def _refresh_charts(self, states: Mapping[int, str]) -> None:
        """Draw all charts if there are few peers; else one chart in turn, and the graph if a condition has changed."""
        names = [GRAPH, *(quantity.name for quantity in QUANTITIES)]
        turn = names if self._few or self._turn == 1 else [names[self._turn % len(names)]]
        group = self._watcher.group
        conditions = {id: peer.condition for id, peer in group.peers.items()}
        if GRAPH in turn or conditions != self._conditions:
            self._draw(GRAPH, graph_data(group, states))
            self._conditions = conditions
        coloured = colours(group)
        for quantity in QUANTITIES:
            if quantity.name in turn:
                lines = curves_data(self._watcher.history, quantity, coloured, self._picked)
                self._draw(quantity.name, {"series": lines})

    def _draw(self, name: str, data: Options) -> None:
        """Send those series of a chart that have changed.

        Nothing is sent while the browser has not drawn the last data, because it is slow or its page is hidden.
        """
        shown = self._shown.setdefault(name, {})
        changed = [each for each in data["series"] if shown.get(each["id"]) != each]
        if not changed or (shown and name not in self._ready):
            return
        first = not shown
        shown |= {each["id"]: each for each in changed}
        if first:
            self._draw_anew(name)
        else:
            self._ready.discard(name)
            self._charts[name].run_chart_method("setOption", {"series": changed})

    def _draw_anew(self, name: str) -> None:
        """Send a whole chart: its options and all its series."""
        options = self._charts[name].options
        frames = {each["id"]: each for each in options["series"]}
        shown = {id: {**frames.get(id, {}), **each} for id, each in self._shown.get(name, {}).items()}
        options["series"] = list({**frames, **shown}.values())
        self._charts[name].update()

    def _say(self, label: ui.label, text: str) -> None:
        if label.text != text:
            label.text = text
            label.set_visibility(bool(text))

    def _fill(self, table: ui.table, cells: list[dict[str, Any]]) -> None:
        if self._filled.get(table.id) != cells:
            self._filled[table.id] = cells
            table.update_rows(cells, clear_selection=False)


def tone(event: Event) -> str:
    """The colour class of an event: "bad" if it needs attention, else "good"."""
    return "bad" if event.kind in BAD else "good"


def _since(event: Event) -> str:
    """When a merged event was first seen, as text; "" if it is short or single."""
    if event.since is None or event.at - event.since <= TOGETHER:
        return ""
    return f" (since {time_of_day(event.since)})"


def _table(columns: Any, style: str, text: str = "") -> ui.table:
    described = [
        {"name": name, "label": title, "field": name, "align": "left", "classes": "text" if name == text else ""}
        for name, title in columns
    ]
    table = ui.table(columns=described, rows=[], row_key="id", pagination=0).classes(f"{style} w-full")
    return table.props(
        'dense flat virtual-scroll hide-pagination :rows-per-page-options="[0]" no-data-label="nothing yet"'
    )


def _legend(colour: str, text: str) -> None:
    with ui.element("div"):
        ui.element("span").classes("swatch").style(f"background: {colour}")
        ui.label(text).style("display: inline")
