"""A real headless Chromium, and what tests ask it about a page."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from processes import DEADLINE

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage"]
TEXTS = """() => {
  const boxes = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const at = node.parentElement;
    if (!node.data.trim() || !at.checkVisibility({visibilityProperty: true}) || at.closest('th')) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const clip = at.closest('.q-table__middle')?.getBoundingClientRect();
    for (const r of range.getClientRects())
      if (!clip || (r.top >= clip.top && r.bottom <= clip.bottom && r.left >= clip.left && r.right <= clip.right))
        boxes.push([node.data, r.left, r.top, r.right, r.bottom]);
  }
  for (const element of document.querySelectorAll('.nicegui-echart')) {
    const chart = getElement(+element.id.slice(1)).chart, from = element.getBoundingClientRect();
    for (const each of chart.getZr().storage.getDisplayList()) {
      if (each.type !== 'tspan' || !each.style.text) continue;
      const r = each.getBoundingRect().clone();
      if (each.transform) r.applyTransform(each.transform);
      boxes.push([each.style.text, from.x + r.x, from.y + r.y, from.x + r.x + r.width, from.y + r.y + r.height]);
    }
  }
  return boxes;
}"""
"""JavaScript that returns every visible text of the page and of its charts, with left, top, right, bottom in pixels."""


@contextmanager
def chromium() -> Iterator[Any]:
    """Start a browser with Playwright; the test is skipped if Chromium or Playwright is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed (Debian: apt-get install chromium)")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page in a browser.

    Args:
        browser: from `chromium`.
        url: of the page.
        options: of the browser's context, such as viewport, color_scheme and http_credentials.
    """

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self._context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self._context.set_default_timeout(1000 * DEADLINE)
        self.page = self._context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type != "log" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.goto(url)

    def until(self, text: str) -> None:
        """Wait until the page shows this text."""
        self.page.get_by_text(text).first.wait_for(state="visible")

    def row(self, id: int) -> Any:
        """The table row of a peer."""
        cell = self.page.locator("td:first-child", has_text=re.compile(rf"^{id}$"))
        return self.page.locator(".peers tr").filter(has=cell)

    def overlapping(self) -> list[tuple[str, str]]:
        """Pairs of texts that overlap by more than a pixel."""
        boxes = self.page.evaluate(TEXTS)
        assert len(boxes) > 20
        return [
            (one[0], other[0])
            for index, one in enumerate(boxes)
            for other in boxes[index + 1 :]
            if min(one[3], other[3]) - max(one[1], other[1]) > 1 and min(one[4], other[4]) - max(one[2], other[2]) > 1
        ]

    def sideways(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    def outside(self, url: str) -> list[str]:
        """The requests to other servers than that of `url`."""
        host = url.partition("://")[2].partition("/")[0]
        return [each for each in self.requests if f"://{host}/" not in each and not each.startswith("data:")]

    def close(self) -> None:
        self._context.close()


def longest_task(trace: bytes) -> float:
    """The processor time, in seconds, of the longest task on a page's main thread, from a trace of Chromium.

    It is not wall-clock time, since other work on the cores makes every task take longer.
    """
    events = json.loads(trace)["traceEvents"]
    threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("name") == "thread_name"}
    tasks = [
        e["tdur"]
        for e in events
        if e["name"].endswith("RunTask") and "tdur" in e and threads.get((e["pid"], e["tid"])) == "CrRendererMain"
    ]
    assert len(tasks) > 100
    return float(max(tasks)) / 1e6
