"""Settings as nested tables, such as those of a TOML file: reading, checking, merging and writing them."""

import sys
from collections.abc import Collection, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from edgekd.config.exchange_settings import ExchangeConfig
from edgekd.config.fields import check_type, setting_type
from edgekd.config.sections import Config, DataConfig, DistillConfig, ModelConfig, TrainConfig
from edgekd.config.virtual import SimulationConfig
from edgekd.errors import ConfigError
from edgekd.extensions import is_own_network, refuse_object, spelt
from edgekd.names import with_nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SPLITS = frozenset({"iid", "gamma", "dirichlet", "split"})

SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "distill": DistillConfig,
    "model": ModelConfig,
    "train": TrainConfig,
    "exchange": ExchangeConfig,
    "simulation": SimulationConfig,
}
TITLES = {  # titles of the sections in --help
    "data": "Data",
    "distill": "Loss",
    "model": "Network",
    "train": "Training",
    "exchange": "Exchange",
    "simulation": "Simulation",
}


def from_mapping(tables: Mapping[str, Any]) -> Config:
    """Make a Config from nested tables, such as those of a TOML file.

    Raises:
        ConfigError: a section or setting is unknown (the known ones are listed), of the wrong type, or out of range.
    """
    for name in tables:
        if name not in SECTIONS:
            raise ConfigError(with_nearest(f"unknown section [{name}]; known: {', '.join(SECTIONS)}", name, SECTIONS))
    return Config(**{name: _section(name, kind, tables.get(name, {})) for name, kind in SECTIONS.items()})


def in_sections(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Sort settings into nested tables, by section; leave out those that are None.

    Raises:
        ConfigError: a setting is unknown; the known ones are listed.
    """
    sections = {f.name: name for name, kind in SECTIONS.items() for f in fields(kind)}
    tables: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        if key not in sections:
            raise ConfigError(
                with_nearest(f"unknown setting '{key}'; known: {', '.join(sorted(sections))}", key, sections)
            )
        if value is not None:
            tables.setdefault(sections[key], {})[key] = value
    return tables


def without(tables: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Copy nested tables without the settings that have these names."""

    def left(table: Any) -> Any:
        if not isinstance(table, Mapping):
            return table  # it is refused later
        return {name: value for name, value in table.items() if name not in names}

    return {section: left(table) for section, table in tables.items()}


def check_own_word(tables: Any, given: Mapping[str, Any]) -> None:
    """Check that a settings file alone does not name a user's own network: only the user may make edgekd run its code.

    Args:
        tables: all settings, by section.
        given: the settings that the user has given directly: as flags, or as arguments of `Config.load`.

    Raises:
        ConfigError: the tables name such a network, and `given` has no ``model``.
    """
    section = tables.get("model") if isinstance(tables, dict) else None
    value = section.get("model") if isinstance(section, dict) else None
    for text in value if isinstance(value, list) else [value]:
        names = [name.strip() for name in text.split(",")] if isinstance(text, str) else []
        if any(map(is_own_network, names)) and "model" not in given.get("model", {}):
            refuse_object(text, "model")
            raise ConfigError(
                f"a file of settings names {text}, a network of one's own, and no code is run on a file's word: name "
                f"the network yourself, --model {text}"
            )


def usable(tables: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """Make a Config from as many of the settings as possible, and return it with the errors of the other settings.

    This is for a program that looks for faults: one wrong setting does not hide another one, or what others name.
    """
    try:
        return from_mapping(tables), []
    except ConfigError as error:
        wrong = [str(error)]
    kept: dict[str, Any] = {}
    left: list[dict[str, Any]] = []
    for name, table in tables.items():
        left += (
            [{name: {key: value}} for key, value in table.items()] if isinstance(table, Mapping) else [{name: table}]
        )
    while True:  # a setting may need another one that comes later
        refused: list[dict[str, Any]] = []
        why: list[str] = []
        for each in left:
            wider = overlay(kept, each)
            try:
                from_mapping(wider)
            except ConfigError as error:
                refused.append(each)
                why.append(str(error))
            else:
                kept = wider
        if len(refused) == len(left):
            return from_mapping(kept), list(dict.fromkeys([*wrong, *why]))
        left = refused


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested tables: settings in `above` replace those in `below`.

    The settings that say how images are divided among the peers (`SPLITS`) exclude one another. So if `above` has one
    of them, all that `below` has are removed.
    """
    tables = dict(below)
    for name, table in above.items():
        under = tables.get(name)
        if name not in tables or not isinstance(table, Mapping):
            tables[name] = table
            continue
        if not isinstance(under, Mapping):
            continue  # a section that is not a table is refused later
        replaced = {*table, *(SPLITS if name == "data" and not SPLITS.isdisjoint(table) else ())}
        tables[name] = {**{key: value for key, value in under.items() if key not in replaced}, **table}
    return tables


def _section(name: str, kind: type, table: Any) -> Any:
    if not isinstance(table, Mapping):
        raise ConfigError(f"[{name}] must be a table of settings, got {table!r}")
    known = {f.name: f for f in fields(kind)}
    for key, value in table.items():
        if key not in known:
            why = f"unknown setting '{key}' in [{name}]; known: {', '.join(sorted(known))}"
            raise ConfigError(with_nearest(why, key, known))
        check_type(known[key], value, section=name)
    return kind(**{key: _widened(known[key], value) for key, value in table.items()})


def _widened(f: "Field[Any]", value: Any) -> Any:
    return float(value) if setting_type(f) is float and isinstance(value, int) else value


def to_mapping(config: Config) -> dict[str, dict[str, Any]]:
    """Nested tables of all settings that are not None: what `from_mapping` reads back. Empty sections are left out.

    An object that a program has set is replaced by its name: see `edgekd.extensions.spelt`.
    """
    tables = {
        name: {
            f.name: _written(value)
            for f in fields(kind)
            if (value := getattr(getattr(config, name), f.name)) is not None
        }
        for name, kind in SECTIONS.items()
    }
    return {name: table for name, table in tables.items() if table}


def _written(value: Any) -> Any:
    return value if isinstance(value, bool | int | float) else spelt(value)


def read_toml(path: Path) -> dict[str, dict[str, Any]]:
    """The tables of a TOML file, unchecked.

    Raises:
        ConfigError: the file cannot be read or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")  # a path need not be UTF-8
        tables: dict[str, dict[str, Any]] = tomllib.loads(text)
        return tables
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
