"""Click options made from the settings' dataclasses, and ``--config FILE.toml`` under them: flags win."""

import dataclasses
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from edgekd.config import SECTIONS, from_mapping, read_toml, setting_type

Command = Callable[..., Any]

LETTERS = {"gamma": "G", "dirichlet": "B"}  # of flags whose help speaks of their value

SPLITS = ("iid", "gamma", "dirichlet")  # one excludes the others, so a flag takes the place of any in the file


def settings(
    *sections: str, only: Iterable[str] | None = None, without: Iterable[str] = (), path_of: str | None = None
) -> Callable[[Command], Command]:
    """Give a command one flag a field of `sections` (of them those in `only`, and none in `without`).

    It is passed a checked ``config``; settings that have no flag can come from the file all the same.

    Without ``--config`` the settings under the flags are those of the ``config.toml`` beside the path that the
    command's parameter `path_of` names, if there is one.
    """
    fields = [
        (section, f)
        for section in sections
        for f in dataclasses.fields(SECTIONS[section])
        if (only is None or f.name in only) and f.name not in without
    ]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def wrapper(config: Path | None, **given: Any) -> Any:
            file = config or (beside(given[path_of]) if path_of else None)
            tables = read_toml(file) if file else {}
            flags = {f.name: given.pop(f.name) for _, f in fields}
            if any(flags.get(name) is not None for name in SPLITS) and isinstance(tables.get("data"), dict):
                tables["data"] = {name: value for name, value in tables["data"].items() if name not in SPLITS}
            for section, f in fields:
                if flags[f.name] is not None and isinstance(tables.setdefault(section, {}), dict):
                    tables[section][f.name] = flags[f.name]
            return command(config=from_mapping(tables), **given)

        wrapped: Command = wrapper
        for section, f in reversed(fields):
            wrapped = _option(section, f)(wrapped)
        return _config_option(wrapped)

    return decorate


def grid_settings(*sections: str) -> Callable[[Command], Command]:
    """Give a command one flag a field of `sections`, each taking a list, and ``--split``; pass it nested ``tables``.

    In the tables a value may be a list (see `edgekd.lab.grid.configs`).
    """
    fields = [(section, f) for section in sections for f in dataclasses.fields(SECTIONS[section])]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def wrapper(config: Path | None, split: str | None, **given: Any) -> Any:
            from edgekd.lab.grid import listed

            tables: dict[str, Any] = read_toml(config) if config else {}
            flags = {f.name: given.pop(f.name) for _, f in fields}
            if split is not None or any(flags[name] is not None for name in SPLITS):
                replaced = (*SPLITS, "split")
                tables["data"] = {name: v for name, v in tables.get("data", {}).items() if name not in replaced}
            if split is not None:
                tables["data"]["split"] = listed("split", str, split)
            for section, f in fields:
                if flags[f.name] is not None:
                    tables.setdefault(section, {})[f.name] = listed(f.name, setting_type(f), flags[f.name])
            return command(tables=tables, **given)

        wrapped: Command = wrapper
        for _, f in reversed(fields):
            wrapped = click.option(f"--{f.name.replace('_', '-')}", f.name, metavar="LIST", help=_help(f))(wrapped)
        split = click.option("--split", metavar="LIST", help="Of iid, gamma:G and dirichlet:B.")
        return split(_config_option(wrapped))

    return decorate


def beside(path: Path) -> Path | None:
    """The ``config.toml`` in the folder of `path`, if there is one."""
    file = (path if path.is_dir() else path.parent) / "config.toml"
    return file if file.is_file() else None


def _config_option(command: Command) -> Command:
    return click.option(
        "--config", type=click.Path(path_type=Path), metavar="FILE.toml", help="Settings; flags win over them."
    )(command)


def _option(section: str, f: "dataclasses.Field[Any]") -> Callable[[Command], Command]:
    flag = "--" + f.name.replace("_", "-")
    kind, choices = setting_type(f), f.metadata["choices"]
    help = f.metadata["help"]
    if f.name == "sync":  # a flag that may stand without its number
        return click.option(flag, type=float, is_flag=False, flag_value=float("inf"), metavar="[SECONDS]", help=help)
    if kind is bool:
        return click.option(flag, is_flag=True, default=None, help=help)
    metavar = "|".join(choices) if choices else LETTERS.get(f.name) or {int: "N", float: "X", str: "TEXT"}[kind]
    return click.option(flag, type=kind, metavar=metavar, default=None, help=_help(f))


def _help(f: "dataclasses.Field[Any]") -> str:
    shown = "" if f.default is None or f.default is False else f"  [default: {f.default}]"
    return f"{f.metadata['help']}.{shown}"
