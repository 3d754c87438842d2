"""Extensions: functions of the user, named ``package.module:function`` or ``FILE.py:function``.

The working folder is searched for modules, too.
"""

import functools
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from edgekd.errors import ConfigError
from edgekd.paths import expanded

TIMM = "timm:"  # before the name of one of timm's networks: no extension, though it looks like one

_NAME = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*|.+\.py):(?P<function>[^\W\d]\w*)")


def is_extension(name: str) -> bool:
    """Whether `name` has the form ``package.module:function`` or ``FILE.py:function``."""
    return _NAME.fullmatch(name) is not None


def is_own_network(name: str) -> bool:
    """Whether the network `name` is a function of the user, so that making the network runs the user's code."""
    return is_extension(name) and not name.startswith(TIMM)


def with_absolute_file(name: str) -> str:
    """``FILE.py:function`` with an absolute path, valid in any working folder; other names as they are."""
    file, _, function = name.rpartition(":")
    return f"{_absolute(file)}:{function}" if file.endswith(".py") and is_extension(name) else name


@functools.cache
def load_function(name: str) -> Callable[..., Any]:
    """Import the module or the file that `name` begins with, and return the function.

    Raises:
        ConfigError: the module cannot be imported, or has no such function.
    """
    module, _, function = name.rpartition(":")
    try:
        found = getattr(_of_file(module) if module.endswith(".py") else _of_name(module), function)
    except Exception as error:  # the user's module may raise any error
        raise ConfigError(f"cannot load {name}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"{name} must be a function, got {found!r}")
    return found  # type: ignore[no-any-return]


def _of_name(module: str) -> ModuleType:
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last: a random.py there must not take the place of Python's own
    return importlib.import_module(module)


def _of_file(file: str) -> ModuleType:
    path = _absolute(file)
    spec = importlib.util.spec_from_file_location(os.path.basename(path).removesuffix(".py"), path)
    assert spec is not None  # the suffix is .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _absolute(file: str) -> str:
    return os.path.abspath(expanded(file))
