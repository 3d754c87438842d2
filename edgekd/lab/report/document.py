"""A report as a list of blocks, written as Markdown or as one self-contained HTML page.

In texts and cells, ``**bold**`` and `` `code` `` are marked as in Markdown.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template

from edgekd.lab.findings.choice import BETTER, OPEN, WORSE
from edgekd.lab.findings.stats import NOT_SUPPORTED, SUPPORTED, UNDECIDED

_BADGES = {SUPPORTED: "yes", NOT_SUPPORTED: "no", UNDECIDED: "open", BETTER: "yes", WORSE: "no", OPEN: "open"}


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; the title of the document has level 1."""

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph, or a list if there are several lines."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of texts."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    folded: str = ""  # on a page, the table is hidden until this text is clicked
    cards: bool = False  # on a narrow page, each row becomes a card


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure: in Markdown its file, on a page its panels."""

    file: str
    alt: str
    caption: str
    panels: tuple[str, ...]  # SVG
    legend: tuple[tuple[str, str], ...] = ()  # name and colour
    scrolls: bool = False  # on a narrow page, it keeps its size and can be scrolled


@dataclass(frozen=True, slots=True)
class Gallery:
    """Small pictures, each with lines of text below it."""

    pictures: tuple[tuple[str, tuple[str, ...]], ...]  # data URL of the picture, and the lines


Block = Heading | Text | Grid | Picture | Gallery


def to_markdown(blocks: Sequence[Block]) -> str:
    """The report as Markdown, with links to the picture files."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def to_html(blocks: Sequence[Block]) -> str:
    """The report as one HTML page, which loads no other files."""
    title = next(block.text for block in blocks if isinstance(block, Heading))
    parts = [block.text for block in blocks if isinstance(block, Heading) and block.level == 2]
    links = "".join(f'<a href="#{_anchor(text)}">{html.escape(text)}</a>' for text in parts)
    page = Template(resources.files("edgekd.lab.report").joinpath("report.html.in").read_text(encoding="utf-8"))
    body = [_html(block) for block in blocks]
    return page.substitute(title=html.escape(title), body="\n".join([body[0], f"<nav>{links}</nav>", *body[1:]]))


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Text):
        return block.lines[0] if len(block.lines) == 1 else "\n".join(f"- {line}" for line in block.lines)
    if isinstance(block, Picture):
        return f"![{block.alt}]({block.file}.png)\n\n*{block.caption}*"
    if isinstance(block, Gallery):
        return "\n".join(f"- {', '.join(lines)}" for _, lines in block.pictures)
    rules = (
        ["---:" if _is_number(cell) else "---" for cell in block.rows[0]] if block.rows else ["---"] * len(block.header)
    )
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in (block.header, rules, *block.rows)]
    title = block.folded or block.caption
    table = "\n".join(f"| {line} |" for line in lines)
    return f"{title}\n\n{table}" if title else table


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        anchor = f' id="{_anchor(block.text)}"' if block.level > 1 else ""
        return f"<h{block.level}{anchor}>{_inline(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        if len(block.lines) == 1:
            return f"<p>{_inline(block.lines[0])}</p>"
        return "<ul>" + "".join(f"<li>{_inline(line)}</li>" for line in block.lines) + "</ul>"
    if isinstance(block, Picture):
        legend = "".join(
            f'<li><i style="background:{colour}"></i>{html.escape(name)}</li>' for name, colour in block.legend
        )
        panels = "".join(f"<div>{panel}</div>" for panel in block.panels)
        caption = f"<figcaption>{_inline(block.caption)}</figcaption>"
        legend = f'<ul class="legend">{legend}</ul>' if legend else ""
        kind = ' class="scrolls" tabindex="0"' if block.scrolls else ' class="panels"'
        return f"<figure>{legend}<div{kind}>{panels}</div>{caption}</figure>"
    if isinstance(block, Gallery):
        return f'<ul class="gallery">{"".join(_thumbnail(*each) for each in block.pictures)}</ul>'
    table = _table(block)
    return f"<details><summary>{_inline(block.folded)}</summary>{table}</details>" if block.folded else table


def _thumbnail(picture: str, lines: tuple[str, ...]) -> str:
    alt = html.escape(", ".join(lines))
    return f'<li><img src="{picture}" alt="{alt}">{"".join(f"<span>{html.escape(line)}</span>" for line in lines)}</li>'


def _table(grid: Grid) -> str:
    numeric = [_is_number(cell) for cell in grid.rows[0]] if grid.rows else [False] * len(grid.header)
    kinds = [' class="number"' if number else "" for number in numeric]
    head = "".join(f"<th{kind}>{_inline(name)}</th>" for name, kind in zip(grid.header, kinds, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f'<td{kind} data-name="{html.escape(name)}">{_cell(cell)}</td>'
            for cell, name, kind in zip(row, grid.header, kinds, strict=True)
        )
        + "</tr>"
        for row in grid.rows
    )
    caption = f"<caption>{_inline(grid.caption)}</caption>" if grid.caption else ""
    cards = " cards" if grid.cards else ""
    table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="table{cards}" tabindex="0">{table}</div>'


def _cell(text: str) -> str:
    return f'<span class="badge {_BADGES[text]}">{text}</span>' if text in _BADGES else f"<span>{_inline(text)}</span>"


def _inline(text: str) -> str:
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)


def _is_number(text: str) -> bool:
    return bool(re.match(r"\**[+-]?\d|< \d|-$|$", text))


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
