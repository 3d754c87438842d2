"""Extensions: functions of the user, named ``package.module:function`` or ``FILE.py:function``.

The working folder is searched for modules, too. A Python program may set an object, such as a function, instead of its
name. A settings file holds ``object:NAME`` for it, from which the object cannot be loaded again.
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
from typing import Any, TypeAlias

from edgekd.errors import ConfigError
from edgekd.paths import expanded

Function: TypeAlias = str | Callable[..., Any]  # a function's name, or the function itself

OBJECT = "object:"  # stands before the name of an object that a program has set, in files and messages
TIMM = "timm:"  # before the name of one of timm's networks: no extension, though it looks like one

_NAME = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*|.+\.py):(?P<function>[^\W\d]\w*)")


def is_extension(name: object) -> bool:
    """Whether `name` is a function, or has the form ``package.module:function`` or ``FILE.py:function``."""
    return _NAME.fullmatch(name) is not None if isinstance(name, str) else callable(name)


def is_own_network(name: Function) -> bool:
    """Whether the network `name` is the user's own, so that making the network runs the user's code."""
    return is_extension(name) and not (isinstance(name, str) and name.startswith(TIMM))


def spelt(value: object) -> str:
    """The value of a setting as text: a name as it is, an object as ``object:NAME``.

    NAME is the name of the object, such as a function, or otherwise the name of its class.
    """
    if isinstance(value, str):
        return value
    name = str(getattr(value, "__name__", type(value).__name__))
    return OBJECT + re.sub(r"\W", "", name)


def refuse_object(name: object, setting: str) -> None:
    """Check that the value of a setting is not ``object:NAME``, which a file holds for an object of a program.

    Args:
        name: the value.
        setting: the name of the setting.

    Raises:
        ConfigError: it is.
    """
    if isinstance(name, str) and name.startswith(OBJECT):
        raise ConfigError(
            f"{setting} was {name}, an object that a Python program had handed in, and no file can hold it: hand it in "
            f"again (in Python: {setting}=), or choose another {setting}"
        )


def with_absolute_file(value: Function) -> str:
    """``FILE.py:function`` with an absolute path, which is valid in any working folder; other values as `spelt`."""
    name = spelt(value)
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


@functools.lru_cache(maxsize=64)
def load_function(name: Function) -> Callable[..., Any]:
    """The function of this name, from its module or file; or the function that is given. It runs `without_exit`.

    Raises:
        ConfigError: the module cannot be imported, or has no such function.
    """
    found = _named(name) if isinstance(name, str) else name
    if not callable(found):
        raise ConfigError(f"{name} must be a function, got {found!r}")

    @functools.wraps(found)
    def called(*args: Any, **options: Any) -> Any:
        with without_exit():
            return found(*args, **options)

    return called


def _named(name: str) -> Any:
    module, _, function = name.rpartition(":")
    try:
        with without_exit():
            return getattr(_of_file(module) if module.endswith(".py") else _of_name(module), function)
    except Exception as error:  # the user's module may raise any error
        raise ConfigError(f"cannot load {name}: {type(error).__name__}: {error}") from error


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
