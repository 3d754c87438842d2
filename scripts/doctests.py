"""An extension of Griffe, which mkdocs.yml names: the site shows an example that a docstring begins with ">>>" as code.

Without it, Markdown would read ``[25, 25]`` and ``models[1](x)`` as links. Examples in a section "Examples:" are code
already; they are indented.
"""

import re
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"^>>> .+?(?=\n\n|\Z)", re.DOTALL | re.MULTILINE)


class Doctests(Extension):
    """Puts each example between fences."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Griffe calls this with each module, class, function and attribute that it has read."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
