"""Click options made from the settings' dataclasses, and ``--config FILE.toml`` under them: flags win."""

import dataclasses
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from edgekd.config import SECTIONS, from_mapping, read_toml, setting_type

Command = Callable[..., Any]


def settings(
    *sections: str, only: Iterable[str] | None = None, beside: str | None = None
) -> Callable[[Command], Command]:
    """Give a command one flag a field of `sections` (or just those in `only`) and pass it a checked ``config``.

    Without ``--config`` the settings under the flags are those of the ``config.toml`` beside the path that the
    command's parameter `beside` names, if there is one.
    """
    fields = [
        (section, f)
        for section in sections
        for f in dataclasses.fields(SECTIONS[section])
        if only is None or f.name in only
    ]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def wrapper(config: Path | None, **given: Any) -> Any:
            file = config or (_beside(given[beside]) if beside else None)
            tables = read_toml(file) if file else {}
            for section, f in fields:
                value = given.pop(f.name)
                if value is not None:
                    tables.setdefault(section, {})[f.name] = value
            return command(config=from_mapping(tables), **given)

        wrapped: Command = wrapper
        for section, f in reversed(fields):
            wrapped = _option(section, f)(wrapped)
        return click.option(
            "--config", type=click.Path(path_type=Path), metavar="FILE.toml", help="Settings; flags win over them."
        )(wrapped)

    return decorate


def _beside(path: Path) -> Path | None:
    file = (path if path.is_dir() else path.parent) / "config.toml"
    return file if file.is_file() else None


def _option(section: str, f: "dataclasses.Field[Any]") -> Callable[[Command], Command]:
    flag = "--" + f.name.replace("_", "-")
    kind, choices = setting_type(f), f.metadata["choices"]
    shown = "" if f.default is None or f.default is False else f"  [default: {f.default}]"
    text = f.metadata["help"]
    help = text[0].upper() + text[1:]
    if f.name == "sync":  # a flag that may stand without its number
        return click.option(flag, type=float, is_flag=False, flag_value=float("inf"), metavar="[SECONDS]", help=help)
    if kind is bool:
        return click.option(flag, is_flag=True, default=None, help=help)
    metavar = "|".join(choices) if choices else {int: "N", float: "X", str: "TEXT"}[kind]
    return click.option(flag, type=kind, metavar=metavar, default=None, help=f"{help}.{shown}")
