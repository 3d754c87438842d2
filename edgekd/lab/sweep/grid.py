"""The settings of a sweep: like a Config, but values may be lists; every combination of values is a cell."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgekd.config import AUTO, Config, from_mapping, overlay
from edgekd.errors import ConfigError
from edgekd.lab.sweep.records import ALONE, POOLED, TOGETHER, Cell
from edgekd.simulation.groups import lone

Tables = Mapping[str, Any]

SAY = {"threads": "give a number, or leave it out for 1", "precision": "choose float32 or bfloat16"}
WITH_COMMAS = ("model", "head_layers", "down")  # settings whose values contain commas: a flag gives only one value


def listed(name: str, kind: type, text: str) -> list[Any]:
    """Parse the values of a flag such as ``--alpha 0.2,0.5``.

    Args:
        name: the setting.
        kind: int, float, bool or str.
        text: the text of the flag.

    Raises:
        ConfigError: a value is not of this kind.
    """
    texts = [text] if name in WITH_COMMAS else text.split(",")
    return [_value(name, kind, each.strip()) for each in texts]


def configs(tables: Tables) -> Iterator[Config]:
    """Every combination of the values in nested tables, such as those of a TOML file, seed by seed.

    Args:
        tables: as for `from_mapping`, but values may be lists. ``data.split`` is a list of ``iid``, ``gamma:G`` and
            ``dirichlet:B``. ``grid`` is a list of such tables; each of them replaces settings of the others and gives
            combinations of its own.

    Raises:
        ConfigError: a setting is unknown or wrong, or does not fit another one.
    """
    grids = tables.get("grid", [{}])
    if not isinstance(grids, Sequence) or not all(isinstance(each, Mapping) for each in grids):
        raise ConfigError("grid must be a list of tables: write [[grid]] in the file")
    base = {name: table for name, table in tables.items() if name != "grid"}
    found = [config for grid in grids for config in _combinations(overlay(base, grid))]
    yield from sorted(dict.fromkeys(found), key=lambda config: config.train.seed)  # stable: otherwise the given order


def plan(configs: Sequence[Config], *, baseline: bool) -> list[Cell]:
    """The cells to run: first the baselines, each only once, even if several cells share it.

    Args:
        configs: the configurations of the grid. One with alpha 1, without teachers, is itself a baseline.
        baseline: whether to add baselines for all: each client alone (without balance and, if it is on, also with it),
            and one pooled model.
    """
    together = [Cell(TOGETHER, config) for config in configs if config.distill.alpha < 1]
    alone = [lone(config, balance=config.distill.balance) for config in configs if config.distill.alpha == 1]
    pooled = []
    if baseline:
        for config in configs:
            alone.append(lone(config, balance="off"))
            if config.distill.balance == "on":
                alone.append(lone(config, balance="on"))
            pooled.append(lone(config, balance="off"))
    baselines = [*(Cell(ALONE, config) for config in alone), *(Cell(POOLED, config) for config in pooled)]
    return list(dict.fromkeys([*baselines, *together]))


def _combinations(tables: Tables) -> Iterator[Config]:
    axes: list[list[tuple[str, str, Any]]] = []
    for section, table in tables.items():
        if not isinstance(table, Mapping):
            raise ConfigError(f"[{section}] must be a table of settings, got {table!r}")
        for name, value in table.items():
            values = value if isinstance(value, list) else [value]
            if not values:
                raise ConfigError(f"[{section}] {name} is an empty list; give it a value, or leave it out")
            axes.append([(section, name, each) for each in values])
    for chosen in itertools.product(*axes):
        cell: dict[str, dict[str, Any]] = {}
        for section, name, value in chosen:
            cell.setdefault(section, {}).update(
                _split(value) if (section, name) == ("data", "split") else {name: value}
            )
        config = from_mapping(cell)
        for setting in ("threads", "precision"):
            if getattr(config.train, setting) == AUTO:
                raise ConfigError(f"{setting} auto depends on the machine, and a sweep's cells do not: {SAY[setting]}")
        yield config


def _split(value: object) -> dict[str, Any]:
    """Parse ``iid``, ``gamma:15`` or ``dirichlet:0.5`` into settings."""
    kind, _, number = str(value).partition(":")
    if kind == "iid" and not number:
        return {"iid": True}
    if kind in ("gamma", "dirichlet"):
        return {kind: _value(kind, float, number)}
    raise ConfigError(f"split must be iid, gamma:G or dirichlet:B, got {value}")


def _value(name: str, kind: type, text: str) -> Any:
    words = {"true": True, "on": True, "false": False, "off": False}
    try:
        return words[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        expected = "true or false" if kind is bool else {int: "a whole number", float: "a number"}[kind]
        raise ConfigError(f"{name} must be {expected}, got {text!r}") from None
