"""Extensions: functions of the user, named ``package.module:function``. The working folder is searched, too."""

import functools
import importlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from edgekd.errors import ConfigError

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def is_extension(name: str) -> bool:
    """Whether `name` has the form ``package.module:function``."""
    return _NAME.fullmatch(name) is not None


@functools.cache
def load_function(name: str) -> Callable[..., Any]:
    """Import the module of ``package.module:function`` and return the function.

    Raises:
        ConfigError: the module cannot be imported, or has no such function.
    """
    module, _, function = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # python -m adds this folder, an installed command does not
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # the user's module may raise any error
        raise ConfigError(f"cannot load {name}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"{name} must be a function, got {found!r}")
    return found  # type: ignore[no-any-return]
