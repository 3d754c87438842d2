"""The run folder: the settings and the results of a run."""

import contextlib
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import tomli_w

from edgekd.config import Config, Images, from_mapping, read_run, to_mapping, written_out
from edgekd.errors import ConfigError, TransientError
from edgekd.extensions import spelt, with_absolute_file
from edgekd.files.atomic import write_atomically
from edgekd.files.folders import checkpoints
from edgekd.files.locks import locked
from edgekd.files.summary import Summary
from edgekd.files.writable import make_folder, missing_folders, remove_empty
from edgekd.paths import expanded

PUBLIC = "public.safetensors"  # name of the public file in the folder of a peer that has joined a group

# The settings in [data] that a box with its own pictures does not use.
COMMON = frozenset(
    {
        *("data", "limit", "clients", "iid", "gamma", "dirichlet", "primary"),
        *("eval_fraction", "public_fraction"),
    }
)

TRIES = 100  # to lock a folder that other processes remove at the same time, because they left nothing in it


@contextmanager
def run_folder(out: Path | None, name: str) -> Iterator[Path]:
    """The folder `out`, which may exist, or a new folder ``runs/TIME-NAME`` if `out` is None; locked in the block.

    If folders that were created here are empty at the end of the block, they are removed.

    Raises:
        ConfigError: the folder cannot be created.
        TransientError: another process holds its lock.
    """
    parent = Path("runs") if out is None else out
    with contextlib.ExitStack() as undo:
        undo.callback(remove_empty, missing_folders(parent))
        for _ in range(TRIES):
            with contextlib.suppress(FileNotFoundError):
                folder = undo.enter_context(_made_and_locked(parent, name if out is None else None))
                break
        else:
            raise ConfigError(f"{parent} cannot be used: it was removed {TRIES} times while this command began")
        yield folder


@contextmanager
def _made_and_locked(parent: Path, name: str | None) -> Iterator[Path]:
    """The folder `parent`, or with a `name` a new folder in it, locked during the block.

    Raises:
        FileNotFoundError: another process, which had made `parent`, has ended and removed it meanwhile.
    """
    with contextlib.ExitStack() as undo:
        if not parent.is_dir() or name is not None:  # a peer may resume in a folder that is now read-only
            make_folder(parent)
        folder = parent
        if name is not None:
            folder = _new_folder(parent, f"{time.strftime('%Y%m%d-%H%M%S')}-{name}")
            undo.callback(remove_empty, [folder])
        undo.enter_context(_lock_folder(folder))
        yield folder


def _new_folder(parent: Path, name: str) -> Path:
    """Make a folder that no other run has; another run may have begun in the same second, so a number is appended."""
    for suffix in itertools.chain([""], (f"-{number}" for number in itertools.count(2))):
        with contextlib.suppress(FileExistsError):
            folder = parent / f"{name}{suffix}"
            folder.mkdir()
            return folder
    raise AssertionError("the numbers do not end")


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(folder / ".lock", wait=False))
        except BlockingIOError as error:
            advice = "stop that, or choose another --out"
            raise TransientError(f"{folder} is in use by another process; {advice}") from error
        except FileNotFoundError:  # the folder was removed
            raise
        except OSError:  # the folder is not writable, or the file system has no locks
            pass
        yield


def refuse_folder_of_peer(folder: Path) -> None:
    """Refuse a folder with checkpoints, so that no other command replaces a peer's settings by its own.

    Raises:
        ConfigError: there are checkpoints in `folder`.
    """
    if checkpoints(folder):
        raise ConfigError(f"{folder} holds the checkpoints of a peer; choose another --out")


def write_config(folder: Path, config: Config) -> Path:
    """Write ``config.toml``. With ``--config`` it repeats the run, even if a later version has other defaults.

    Raises:
        OSError: the file cannot be written. Then an existing file is unchanged.
    """
    path, tables = folder / "config.toml", to_mapping(_absolute(written_out(config)))
    if config.data.private is not None:  # such a run does not use the settings of a common data set
        tables["data"] = {name: value for name, value in tables["data"].items() if name not in COMMON}
    write_atomically(path, [tomli_w.dumps(tables).encode(errors="surrogateescape")])
    return path


def changed_settings(folder: Path, config: Config) -> list[str]:
    """The settings in `config` that differ from the folder's ``config.toml``, each as text: "steps 200 (was 120)".

    The list is empty if there is no such file.
    """
    file = folder / "config.toml"
    if not file.is_file():
        return []
    before = to_mapping(written_out(from_mapping(read_run(file))))
    now = to_mapping(_absolute(written_out(config)))
    pairs = [
        (name, before.get(section, {}).get(name), now.get(section, {}).get(name))
        for section in {**before, **now}
        for name in {**before.get(section, {}), **now.get(section, {})}
    ]
    return [f"{name} {new} (was {old})" for name, old, new in pairs if old != new]


def _absolute(config: Config) -> Config:
    """The same settings with absolute paths, so they are valid in any working folder; the names of objects."""

    def folder(setting: Images | None) -> str | None:
        if setting is None:
            return None
        kind, _, path = spelt(setting).partition(":")
        return f"folder:{expanded(path).absolute()}" if kind == "folder" else spelt(setting)

    def file(setting: str | None) -> str | None:
        return setting if setting in (None, "none", "imagenet") else str(expanded(str(setting)).absolute())

    data = config.data
    data = replace(
        data,
        data=folder(data.data) or data.data,
        private=folder(data.private),
        eval=folder(data.eval),
        public=file(data.public),
        cache=file(data.cache),
    )
    topology = config.exchange.topology
    if topology not in ("full", "ring") and not topology.startswith("regular:"):
        topology = str(expanded(topology).absolute())
    distill = config.distill
    measure, combine = with_absolute_file(distill.measure), with_absolute_file(distill.combine)
    networks = ",".join(map(with_absolute_file, config.model.names()))
    return replace(
        config,
        data=data,
        distill=replace(distill, measure=measure, combine=combine),
        model=replace(config.model, model=networks, weights=file(config.model.weights)),
        exchange=replace(config.exchange, topology=topology, certs=file(config.exchange.certs)),
    )


def write_summary(folder: Path, summary: Summary) -> None:
    """Write ``summary.json``.

    Raises:
        OSError: the file cannot be written.
    """
    content = json.dumps(summary.to_mapping(), indent=2) + "\n"
    write_atomically(folder / "summary.json", [content.encode()])


def data_name(config: Config) -> str:
    """A short name of the training data, for folders and titles."""
    kind, _, path = spelt(config.data.private or config.data.data).partition(":")
    return Path(path).name if path else kind
