"""Extensions: functions of the user, named ``package.module:function`` or ``FILE.py:function``.

The working folder is searched for modules, too.
"""

import contextlib
import functools
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator
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


@contextlib.contextmanager
def without_exit() -> Iterator[None]:
    """A block for running the user's code, in which ``sys.exit`` becomes an ordinary error.

    Otherwise ``sys.exit`` would end the command at once and without a message, often with exit code 0.

    Raises:
        RuntimeError: the user's code calls ``sys.exit``.
    """
    try:
        yield
    except SystemExit as error:
        raise RuntimeError(f"it calls sys.exit({'' if error.code is None else repr(error.code)})") from error


@functools.cache
def load_function(name: str) -> Callable[..., Any]:
    """Import the module or the file that `name` begins with, and return the function, which runs `without_exit`.

    Raises:
        ConfigError: the module cannot be imported, or has no such function.
    """
    module, _, function = name.rpartition(":")
    try:
        with without_exit():
            found = getattr(_of_file(module) if module.endswith(".py") else _of_name(module), function)
    except Exception as error:  # the user's module may raise any error
        raise ConfigError(f"cannot load {name}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"{name} must be a function, got {found!r}")

    @functools.wraps(found)
    def called(*args: Any, **options: Any) -> Any:
        with without_exit():
            return found(*args, **options)

    return called


def _of_name(module: str) -> ModuleType:
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # at the end: a random.py in the folder must not replace Python's own module
    return importlib.import_module(module)


def _of_file(file: str) -> ModuleType:
    path = _absolute(file)
    name = path.removesuffix(".py").replace(".", "_")  # a new name: a random.py must not replace Python's own
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # the suffix is .py
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look up their module there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _absolute(file: str) -> str:
    return os.path.abspath(expanded(file))
