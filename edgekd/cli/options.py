"""Click options made from the settings' dataclasses, and ``--config FILE.toml``, whose values the flags override."""

import dataclasses
import os
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any, TypeAlias

import click

from edgekd.cli.completion import completing
from edgekd.cli.grouped import GroupedOption
from edgekd.cli.lines import stdout_for_results
from edgekd.cli.logs import FORMAT_FLAG, FORMATS, write_message
from edgekd.config import (
    SECTIONS,
    TITLES,
    Config,
    ExchangeConfig,
    check_own_word,
    from_mapping,
    overlay,
    read_run,
    read_toml,
    setting_type,
    usable,
)
from edgekd.config.presets import PRESETS, find_preset
from edgekd.errors import ConfigError
from edgekd.files.folders import WHICH, settings_file
from edgekd.names import with_nearest
from edgekd.paths import expanded
from edgekd.protocol.addresses import MAX_ID


class UserPath(click.Path):
    """A path in which ``~`` is the home folder, since shells do not replace it after ``--out=``."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(expanded(os.fspath(value)), param, ctx)


PATH = UserPath()


class OneOf(click.Choice):  # type: ignore[type-arg] # of click 8.1 there is no Choice[str]
    """One of several words; the error for a misspelt word suggests the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            self.fail(with_nearest(error.message.rstrip("."), value, self.choices), param, ctx)


class _NumberOrWord(click.types.IntParamType):
    """A whole number, or one of several words."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self._words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self._words:
            return value
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a whole number nor {' or '.join(self._words)}", param, ctx)


Command = Callable[..., Any]
Field: TypeAlias = "dataclasses.Field[Any]"

MOST_FOR_ADAMW = 0.005  # a learning rate; 0.002 costs accuracy already (experiments/gap-screening.md)
FROM_SCRATCH = "with random weights: accuracies near chance, or below, are normal for some hundred steps"
LETTERS = {  # placeholders of flags whose help text mentions them
    "gamma": "G",
    "dirichlet": "B",
    "certs": "DIR",
    "cache": "DIR",
    "allow": "IDS",
    "rescan": "SECONDS",
}


def settings(
    *sections: str,
    only: Iterable[str] | None = None,
    without: Iterable[str] = (),
    path_of: str | None = None,
    forgiving: bool = False,
) -> Callable[[Command], Command]:
    """Decorate a command: give it a flag for each setting of some sections, and pass it a checked ``config``.

    The settings come from ``--preset``, the file and the flags; later ones override earlier ones. The file is that of
    ``--config`` and may hold settings that have no flag. With ``--resume`` the settings in ``--out`` lie under all of
    these.

    Args:
        sections: names of sections of the settings.
        only: the settings that get a flag; None: all of the sections.
        without: settings that get none.
        path_of: a parameter of the command that names a checkpoint. Without ``--config``, the settings of this
            checkpoint (of the peer in the parameter ``peer``) are used: see `edgekd.files.folders.settings_file`.
        forgiving: an invalid setting does not end the command. It is left out of ``config``, and the command is passed
            ``wrong``, a list with a line for each.
    """
    fields = [
        (section, f)
        for section in sections
        for f in dataclasses.fields(SECTIONS[section])
        if (only is None or f.name in only) and f.name not in without
    ]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def wrapper(config: Path | None, preset: str | None = None, **given: Any) -> Any:
            path = _found(given[path_of], given["peer"]) if path_of and given[path_of] and not config else None
            flags = _tables(fields, {f.name: given.pop(f.name) for _, f in fields})
            if given.get("resume") and given["out"]:
                path = given["out"] / "config.toml"

            def read() -> dict[str, Any]:
                below = overlay(read_run(path) if path and path.is_file() else {}, _below(preset, config))
                return overlay(below, flags)

            with stdout_for_results():
                if forgiving:
                    usable_config, wrong = _usable(read, flags)
                    return command(config=_with_warning(usable_config), wrong=wrong, **given)
                tables = read()
                if ("model", "model") in [(section, f.name) for section, f in fields]:
                    check_own_word(tables, flags)
                return command(config=_with_warning(from_mapping(tables)), **given)

        wrapped: Command = wrapper
        for section, f in reversed(fields):
            wrapped = _option(section, f)(wrapped)
        return _file_options(wrapped, presets=only is None)

    return decorate


def grid_settings(*sections: str, without: Iterable[str] = ()) -> Callable[[Command], Command]:
    """Decorate a command: give it a flag that takes a list for each setting, and ``--split``; pass it ``tables``.

    The tables are nested: settings by section. A value may be a list: see `edgekd.lab.sweep.grid.configs`. Flags
    override the file, and each ``[[grid]]`` in it.

    Args:
        sections: names of sections of the settings.
        without: settings that get no flag.
    """
    fields = [
        (section, f) for section in sections for f in dataclasses.fields(SECTIONS[section]) if f.name not in without
    ]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def wrapper(config: Path | None, preset: str | None, split: str | None, **given: Any) -> Any:
            from edgekd.lab.sweep.grid import listed

            texts = {f.name: given.pop(f.name) for _, f in fields}
            kinds = {f.name: setting_type(f) for _, f in fields}
            flags = _tables(fields, {name: text and listed(name, kinds[name], text) for name, text in texts.items()})
            if split is not None:
                flags.setdefault("data", {})["split"] = listed("split", str, split)
            tables = overlay(_below(preset, config), flags)
            if isinstance(tables.get("grid"), list):
                tables["grid"] = [overlay(each, flags) if isinstance(each, dict) else each for each in tables["grid"]]
            for each in (tables, *(tables["grid"] if isinstance(tables.get("grid"), list) else ())):
                check_own_word(each, flags)
            with stdout_for_results():
                return command(tables=tables, **given)

        wrapped: Command = wrapper
        for section, f in reversed(fields):
            # --async may stand without its list.
            bare: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if f.name == "asynchronous" else {}
            bare |= _about(section, f, many=True)
            wrapped = click.option(_flag(f), f.name, metavar="LIST", help=_help(f), **bare)(wrapped)
        splits = completing(("iid", "gamma:", "dirichlet:"), many=True)
        about: dict[str, Any] = {"cls": GroupedOption, "group": TITLES["data"], "shell_complete": splits}
        wrapped = click.option("--split", metavar="LIST", help="Kinds of split: iid, gamma:G or dirichlet:B.", **about)(
            wrapped
        )
        return _file_options(wrapped, presets=True)

    return decorate


def refuse(exchange: ExchangeConfig, names: Iterable[str], why: str) -> None:
    """Check that these settings, which the command does not support, are not set in a file.

    Raises:
        ConfigError: one is set; its message begins with `why`.
    """
    for name in names:
        if getattr(exchange, name) is not None:
            raise ConfigError(f"{why}: take {name} out of the file")


def _usable(read: Callable[[], dict[str, Any]], flags: dict[str, Any]) -> tuple[Config, list[str]]:
    """The valid settings, and the errors of the others. If the file cannot be read, only the flags are used."""
    try:
        tables, wrong = read(), []
    except ConfigError as error:
        tables, wrong = flags, [str(error)]
    try:
        check_own_word(tables, flags)
    except ConfigError as error:
        wrong.append(str(error))
        tables = {**tables, "model": {name: value for name, value in tables["model"].items() if name != "model"}}
    config, more = usable(tables)
    return config, [*wrong, *more]


def _with_warning(config: Config) -> Config:
    """The same settings; prints a warning if the learning rate seems to be meant for another optimiser."""
    if config.train.optimiser is None and config.optimiser == "adamw" and config.peak_lr > MOST_FOR_ADAMW:
        advice = "for SGD, which takes more, add --optimiser sgd"
        write_message(
            "WARNING", f"lr {config.peak_lr:g} is much for AdamW, the default from pretrained weights: {advice}"
        )
    return config


def _tables(fields: list[tuple[str, Field]], values: dict[str, Any]) -> dict[str, Any]:
    """The values that were given, not None, as tables by section."""
    tables: dict[str, Any] = {}
    for section, f in fields:
        if values[f.name] is not None:
            tables.setdefault(section, {})[f.name] = values[f.name]
    return tables


def _below(preset: str | None, file: Path | None) -> dict[str, Any]:
    """The settings that flags override: those of the preset, overridden by those of the file."""
    return overlay(find_preset(preset) if preset else {}, read_toml(file) if file else {})


def _found(checkpoint: Path, peer: int | None) -> Path | None:
    """The file with the settings of a checkpoint; None: there is none.

    Raises:
        ConfigError: the file is invalid. The message names it, since the user has not.
    """
    file = settings_file(checkpoint, peer)
    if file is not None:
        tables = read_toml(file)
        try:
            from_mapping(tables)
        except ConfigError as error:
            raise ConfigError(f"{file} cannot be used: {error}; --config FILE.toml gives other settings") from error
    return file


def checkpoint_option(*, required: bool) -> Callable[[Command], Command]:
    """The option ``--checkpoint`` of the commands that use a trained network."""
    return click.option(
        "--checkpoint",
        type=PATH,
        required=required,
        metavar="RUN|DIR|FILE",
        help="A checkpoint, or the folder of a peer or a run.",
    )


peer_option = click.option(  # beside it
    "--peer", type=click.IntRange(0), metavar="ID", help="Id of the peer, if the run's folder holds several peers."
)
model_option = click.option(  # beside them
    "--model",
    metavar="NAME",
    help="The network. Needed only for a network of your own, since a checkpoint cannot make its code run.",
)

which_option = click.option(
    "--which",
    type=OneOf(WHICH),
    default="newest",
    show_default=True,
    help="Which checkpoint of the folder; best needs `edgekd peer --keep-best`.",
)


_OF_PEER = (
    click.option(
        "--id",
        type=click.IntRange(0, MAX_ID),
        metavar="N",
        help="Id of this peer in the group, from 0. Required; with --resume the default is the id in the "
        "checkpoints of --out.",
    ),
    click.option(
        "--listen", metavar="HOST:PORT", help="Address at which neighbours can connect to this peer; default: none."
    ),
    click.option(
        "--peers",
        default="",
        metavar="[ID@]HOST:PORT,...",
        help="Addresses of the neighbours; the peer's own address may be in the list. With ID@ only the peer with "
        "this id is accepted there.",
    ),
    click.option(
        "--discover",
        is_flag=True,
        help="Also find peers of the same group on the local network (multicast DNS).",
        cls=GroupedOption,
        group=TITLES["exchange"],
    ),
    click.option(
        "--metrics-port",
        metavar="[HOST:]PORT",
        help="Serve metrics for Prometheus, without keys. Default HOST: 127.0.0.1. PORT 0: any free port.",
    ),
    click.option("--out", type=PATH, metavar="DIR", help="Folder of results.  [default: runs/TIME-peer-ID]"),
    click.option(
        "--resume",
        is_flag=True,
        help="Continue from the newest valid checkpoint in --out, with the settings stored there; flags override them.",
    ),
    click.option(
        FORMAT_FLAG,
        type=OneOf(list(FORMATS)),
        expose_value=False,  # `edgekd.cli.logs.format_among` has read it
        help="Format of the log lines on stderr; journal: with priorities, for systemd.  "
        "[default: text; journal if stderr is systemd's journal]",
    ),
)


FIRST = ("id", "listen", "peers", "private", "public", "weights", "certs", "wait_for", "out", "resume")  # in --help


def peer_options(command: Command) -> Command:
    """Decorate a command: give it those flags of a peer that are no settings, such as its id and its neighbours."""
    for option in reversed(_OF_PEER):
        command = option(command)
    return command


def listed(peers: str) -> tuple[str, ...]:
    """Split the value of ``--peers`` into addresses, without duplicates."""
    return tuple(dict.fromkeys(part.strip() for part in peers.split(",") if part.strip()))


def _file_options(command: Command, *, presets: bool) -> Command:
    if presets:
        help = (
            "light: half of the computing, for the smallest boxes; paper-text and paper-code: the settings in the "
            "paper's text and in its authors' script. FILE.toml and flags override a preset."
        )
        names = tuple(PRESETS)
        complete = completing(names)
        command = click.option("--preset", metavar="|".join(names), help=help, shell_complete=complete)(command)
    return click.option("--config", type=PATH, metavar="FILE.toml", help="File of settings; flags override them.")(
        command
    )


def _flag(f: Field) -> str:
    name = "async" if f.name == "asynchronous" else f.name  # async is a word of Python's own
    return "--" + name.replace("_", "-")


def _about(section: str, f: Field, *, many: bool = False) -> dict[str, Any]:
    """Arguments for the option of a setting: its title in ``--help`` and the completion of its value."""
    choices, words, known = (f.metadata[name] for name in ("choices", "words", "known"))
    values = (*(choices or ()), *words, *known)
    title = f.metadata["group"] or TITLES[section]
    return {"cls": GroupedOption, "group": title, "shell_complete": completing(values, f.metadata["path"], many=many)}


def _option(section: str, f: Field) -> Callable[[Command], Command]:
    kind, choices, words = setting_type(f), f.metadata["choices"], f.metadata["words"]
    help, about = _help(f), _about(section, f)
    if f.name == "sync":  # a flag that may stand without its number
        return click.option(
            _flag(f), type=float, is_flag=False, flag_value=float("inf"), metavar="[SECONDS]", help=help, **about
        )
    if kind is bool:
        return click.option(_flag(f), f.name, is_flag=True, default=None, help=help, **about)
    metavar = "|".join(choices) if choices else LETTERS.get(f.name) or {int: "N", float: "X", str: "TEXT"}[kind]
    metavar = "|".join((metavar, *words))
    taken = _NumberOrWord(words) if words else kind
    return click.option(_flag(f), type=taken, metavar=metavar, default=None, help=help, **about)


def _help(f: Field) -> str:
    shown = "" if f.default is None or f.default is False else f"  [default: {f.default}]"
    return f"{f.metadata['help']}.{shown}"
