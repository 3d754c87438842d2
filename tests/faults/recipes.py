"""Reads the recipes of docs/networks.md, so that the tests run exactly what the page says."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"
_BLOCK = re.compile(r"<!-- recipe: (.+?) -->\n+```\n(.*?)```", re.DOTALL)


def recipe(name: str) -> str:
    """The text of the block that is called `name` on the page.

    Raises:
        KeyError: there is no such block.
    """
    return dict(_BLOCK.findall(PAGE.read_text(encoding="utf-8")))[name]


def commands(name: str) -> list[str]:
    """The lines of the block that is called `name` on the page."""
    return recipe(name).splitlines()
