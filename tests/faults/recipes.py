"""The recipes of docs/networks.md, so that what is tested is what stands there."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"
_BLOCK = re.compile(r"<!-- recipe: (.+?) -->\n+```\n(.*?)```", re.DOTALL)


def recipe(name: str) -> str:
    """The text of the block called `name`.

    Raises:
        KeyError: there is none.
    """
    return dict(_BLOCK.findall(PAGE.read_text(encoding="utf-8")))[name]


def commands(name: str) -> list[str]:
    """The lines of the block called `name`."""
    return recipe(name).splitlines()
